package text

import (
	"slices"
)

// A byteTrie finds the longest of many strings that a text begins with.
type byteTrie struct {
	edges pairTable // (node, byte) -> node
	ids   []int32   // of the string that ends at a node, -1 where none does; node 0 is the root
}

// An entry of a trie.
type entry struct {
	text string
	id   int32
}

// newByteTrie takes the entries over. Of equal strings the first counts.
func newByteTrie(entries []entry) byteTrie {
	slices.SortStableFunc(entries, func(a, b entry) int {
		if a.text < b.text {
			return -1
		} else if a.text > b.text {
			return 1
		}
		return 0
	})
	nodes, before := 1, ""
	for _, e := range entries {
		nodes += len(e.text) - commonPrefix(before, e.text)
		before = e.text
	}
	t := byteTrie{edges: newPairTable(nodes), ids: make([]int32, 1, nodes)}
	t.ids[0] = -1
	for _, e := range entries {
		node := int32(0)
		for i := range len(e.text) {
			next := t.edges.rank(node, int32(e.text[i]))
			if next == noRank {
				next = uint32(len(t.ids))
				t.edges.insert(node, int32(e.text[i]), next)
				t.ids = append(t.ids, -1)
			}
			node = int32(next)
		}
		if t.ids[node] < 0 {
			t.ids[node] = e.id
		}
	}
	return t
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// longest returns the id of the longest entry that text begins with and its length; id is -1 when there is none.
func (t *byteTrie) longest(text []byte) (id int32, length int) {
	id = -1
	node := int32(0)
	for i, b := range text {
		next := t.edges.rank(node, int32(b))
		if next == noRank {
			break
		}
		node = int32(next)
		if t.ids[node] >= 0 {
			id, length = t.ids[node], i+1
		}
	}
	return id, length
}
