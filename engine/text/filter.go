package text

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Filters drop documents for what they are. All that is dropped is counted in the Report.
type Filters struct {
	// Distinct drops a document whose text is, byte for byte, that of an earlier one of the same pass. It keeps the xxh64 of
	// each text, which takes 11 to 22 bytes of memory a document (half as much again while the table grows): under 2.2 GB for a
	// hundred million documents. Two different texts share a hash with a chance of n*n/3.7e19 for n documents, 0.03 % for
	// that many.
	Distinct           bool
	MinBytes, MaxBytes int // of the text; 0 = no limit
	MinChars, MaxChars int // code points of the text, a byte of invalid UTF-8 counting as one; 0 = no limit
}

// maxExamples is the number of dropped documents that a Dropped names.
const maxExamples = 5

// Dropped counts the documents that a filter took out.
type Dropped struct {
	Documents int
	First     []string // where the first of them are, and why
}

// String gives the count and the examples.
func (d Dropped) String() string {
	if len(d.First) == 0 {
		return strconv.Itoa(d.Documents)
	}
	return fmt.Sprintf("%d (%s)", d.Documents, strings.Join(d.First, "; "))
}

func (d *Dropped) add(x *Document, format string, args ...any) {
	d.Documents++
	if len(d.First) < maxExamples {
		d.First = append(d.First, fmt.Sprintf("%s:%d: ", x.Source, x.Line)+fmt.Sprintf(format, args...))
	}
}

// keep says whether a document passes the filters; length comes first.
func (p *pass) keep(d *Document) bool {
	f, rep := &p.r.o.Filters, &p.r.report
	size, unit := len(d.Text), "bytes"
	least, most := f.MinBytes, f.MaxBytes
	short := size < least
	long := most > 0 && size > most
	if !short && !long && (f.MinChars > 0 || f.MaxChars > 0) {
		size, unit = utf8.RuneCount(d.Text), "code points"
		least, most = f.MinChars, f.MaxChars
		short = size < least
		long = most > 0 && size > most
	}
	switch {
	case short:
		rep.TooShort.add(d, "%d %s, the least is %d", size, unit, least)
		return false
	case long:
		rep.TooLong.add(d, "%d %s, the most is %d", size, unit, most)
		return false
	case f.Distinct && !p.seen.add(xxhash.Sum64(d.Text)):
		rep.Duplicates.add(d, "the text of an earlier document again: %.40q", d.Text[:min(len(d.Text), 60)])
		return false
	}
	return true
}

// A hashSet holds 64-bit hashes in a table of open addresses that is three eighths to three quarters full.
type hashSet struct {
	slots []uint64 // a power of two of them; 0 is an empty slot
	used  int
	zero  bool // is the hash 0 a member
}

// add reports whether h is new.
func (s *hashSet) add(h uint64) bool {
	if h == 0 {
		fresh := !s.zero
		s.zero = true
		return fresh
	}
	if s.used >= len(s.slots)/4*3 {
		old := s.slots
		s.slots = make([]uint64, max(1024, 2*len(old)))
		for _, v := range old {
			if v != 0 {
				s.slots[s.find(v)] = v
			}
		}
	}
	i := s.find(h)
	if s.slots[i] == h {
		return false
	}
	s.slots[i] = h
	s.used++
	return true
}

// find returns the slot of h, or the empty one where it belongs.
func (s *hashSet) find(h uint64) int {
	mask := len(s.slots) - 1
	i := int(h) & mask
	for s.slots[i] != 0 && s.slots[i] != h {
		i = (i + 1) & mask
	}
	return i
}
