package cuda

// A ring is the arithmetic of a pinned staging buffer: equal segments, filled one after the other. A piece never crosses a
// segment's end; a segment may be filled again when the device has read all of it, which the caller knows by one event for
// each segment rather than for each piece.
type ring struct {
	segment int // bytes of one
	count   int
	at      int // segment being filled
	filled  int // bytes of it
}

// place finds room for up to want bytes: the offset in the buffer and how many fit. next means that the segment before
// is complete (its event is to be recorded) and that the one entered must be waited for before the piece is written.
func (r *ring) place(want int) (offset, bytes int, next bool) {
	if r.filled >= r.segment {
		r.at = (r.at + 1) % r.count
		r.filled = 0
		next = true
	}
	bytes = min(want, r.segment-r.filled)
	offset = r.at*r.segment + r.filled
	r.filled += alignUp(bytes, alignment)
	return offset, bytes, next
}
