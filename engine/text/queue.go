package text

// A queue is a binary heap: pop returns the element that comes before all others.
type queue[T interface{ before(T) bool }] []T

func (q *queue[T]) push(x T) {
	*q = append(*q, x)
	h := *q
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = x
}

func (q *queue[T]) pop() T {
	h := *q
	top, n := h[0], len(h)-1
	x := h[n]
	*q = h[:n]
	if n > 0 {
		h[:n].sink(0, x)
	}
	return top
}

// heapify orders elements that were appended without push.
func (q queue[T]) heapify() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i, q[i])
	}
}

// sink places x into the subtree below the free slot i.
func (q queue[T]) sink(i int, x T) {
	for {
		child := 2*i + 1
		if child >= len(q) {
			break
		}
		if child+1 < len(q) && q[child+1].before(q[child]) {
			child++
		}
		if !q[child].before(x) {
			break
		}
		q[i] = q[child]
		i = child
	}
	q[i] = x
}
