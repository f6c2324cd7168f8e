package text

import "fmt"

// A Scheme is a way to write entities as tags of tokens (Ramshaw and Marcus 1995 for IOB1; Tjong Kim Sang and Veenstra 1999
// compare them).
type Scheme string

// The schemes.
const (
	IOB1  Scheme = "iob1"  // B only where an entity follows one of the same type at once, otherwise I
	IOB2  Scheme = "iob2"  // every entity begins with B ("BIO")
	IOBES Scheme = "iobes" // and ends with E; S is an entity of one token
	BILOU Scheme = "bilou" // the same with L and U
)

// schemeStats is what a file's tags tell about its scheme.
type schemeStats struct {
	es, lu int // tags E and S; L and U
	startI int // entities that begin with I
	startB int // entities that begin with B where IOB1 would have I
}

func (s *schemeStats) see(tags []tag, i int) {
	t := tags[i]
	switch t.as {
	case 'E', 'S':
		s.es++
	case 'L', 'U':
		s.lu++
	}
	follows := i > 0 && tags[i-1].prefix != 0 && tags[i-1].label == t.label
	switch {
	case t.prefix == 'I' && !follows:
		s.startI++
	case t.prefix == 'B' && !follows:
		s.startB++
	}
}

// decide names the scheme. IOB1 is only what no other scheme can be: entities begin with I and never needlessly with B.
func (s *schemeStats) decide() (Scheme, error) {
	switch {
	case s.es > 0 && s.lu > 0:
		return "", fmt.Errorf("tags of iobes (E, S: %d) and of bilou (L, U: %d) in one file", s.es, s.lu)
	case s.es > 0:
		return IOBES, nil
	case s.lu > 0:
		return BILOU, nil
	case s.startI > 0 && s.startB == 0:
		return IOB1, nil
	}
	return IOB2, nil
}

// A run is an entity: tokens [start, end) of a sentence.
type run struct {
	start, end int
	label      string
}

// A badTag is a tag that cannot stand where it stands.
type badTag struct {
	at       int // token
	tag, why string
	scheme   Scheme
}

func (b badTag) Error() string {
	hint := "correct the file, or --repair-tags to read it as conlleval does, or --scheme for tags of another kind"
	if !b.scheme.has(b.tag[0]) {
		hint = fmt.Sprintf("--scheme %s, or auto", map[bool]Scheme{true: IOBES, false: BILOU}[IOBES.has(b.tag[0])])
	}
	return fmt.Sprintf("%s %s in %s; hint: %s", b.tag, b.why, b.scheme, hint)
}

func (b badTag) String() string { return fmt.Sprintf("%s %s in %s", b.tag, b.why, b.scheme) }

// runs finds the entities of a sentence. The first bad transition is an error, or with repair all are listed and read in the
// manner of conlleval: what cannot go on with an entity begins one, and an entity without its end ends where it is cut off.
func (s Scheme) runs(tags []tag, repair bool) (runs []run, repaired []badTag, err *badTag) {
	open := false // is the last run still going on
	ended := s == IOBES || s == BILOU
	bad := func(at int, tag, why string) bool {
		b := badTag{at, tag, why, s}
		if !repair {
			err = &b
			return false
		}
		repaired = append(repaired, b)
		return true
	}
	for i, t := range tags {
		if t.prefix != 0 && !s.has(t.as) {
			// The letters of another scheme cannot be repaired, they have another meaning there.
			return nil, nil, &badTag{i, t.String(), "has no place", s}
		}
		same := open && runs[len(runs)-1].label == t.label
		goesOn := same && (t.prefix == 'I' || t.prefix == 'E')
		cutOff := open && ended && !goesOn
		if cutOff && !bad(i, t.String(), fmt.Sprintf("before the end of an entity of type %q", runs[len(runs)-1].label)) {
			return nil, nil, err
		}
		switch {
		case t.prefix == 0:
			open = false
			continue
		case goesOn:
			runs[len(runs)-1].end = i + 1
			open = t.prefix == 'I'
			continue
		case t.prefix == 'B' && s == IOB1 && !same && !bad(i, t.String(), "does not follow an entity of its type"),
			t.prefix == 'I' && s != IOB1 && !cutOff && !bad(i, t.String(), "begins an entity"),
			t.prefix == 'E' && !cutOff && !bad(i, t.String(), "ends no entity"):
			return nil, nil, err
		}
		runs = append(runs, run{i, i + 1, t.label})
		open = t.prefix == 'B' || t.prefix == 'I'
	}
	if open && ended && !bad(len(tags)-1, tags[len(tags)-1].String(), "ends the sentence before the entity's end") {
		return nil, nil, err
	}
	return runs, repaired, nil
}

// has says whether a scheme knows a prefix as it is written.
func (s Scheme) has(prefix byte) bool {
	switch prefix {
	case 'E', 'S':
		return s == IOBES
	case 'L', 'U':
		return s == BILOU
	}
	return true
}
