package text

import (
	"strings"
	"testing"
)

func TestFilters(t *testing.T) {
	content := "one\ntwo\none\n\néé\nthree\none\na\ntwo\n"
	docs, r, err := readMarked(t, "a.txt", content, ReaderOptions{Unit: "line", Filters: Filters{Distinct: true}})
	wantDocs(t, "distinct", docs, err, "1:one", "2:two", "5:éé", "6:three", "8:a")
	rep := r.Report()
	if d := rep.Duplicates; d.Documents != 3 || len(d.First) != 3 || !strings.HasSuffix(d.First[0], `a.txt:3: the text of an earlier document again: "one"`) {
		t.Errorf("duplicates %+v", d)
	}
	if rep.Empty != 1 || rep.Documents != 5 || rep.Bytes != 16 {
		t.Errorf("report %+v", rep)
	}
	for range 2 { // a second pass starts with nothing seen
		n := 0
		for _, err := range r.Documents() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 5 {
			t.Errorf("%d documents in another pass", n)
		}
	}
	for _, c := range []struct {
		f           Filters
		want        []string
		short, long string
	}{
		{Filters{MinBytes: 4}, []string{"5:éé", "6:three"}, "a.txt:1: 3 bytes, the least is 4", ""},
		{Filters{MaxBytes: 3}, []string{"1:one", "2:two", "3:one", "7:one", "8:a", "9:two"}, "", "a.txt:5: 4 bytes, the most is 3"},
		{Filters{MinChars: 3, MaxChars: 4}, []string{"1:one", "2:two", "3:one", "7:one", "9:two"}, "a.txt:5: 2 code points, the least is 3", "a.txt:6: 5 code points, the most is 4"},
		{Filters{MinChars: 2, MaxBytes: 4, Distinct: true}, []string{"1:one", "2:two", "5:éé"}, "a.txt:8: 1 code points, the least is 2", "a.txt:6: 5 bytes, the most is 4"},
	} {
		docs, r, err := readMarked(t, "a.txt", content, ReaderOptions{Unit: "line", Filters: c.f})
		wantDocs(t, "lengths", docs, err, c.want...)
		for what, d := range map[string]Dropped{c.short: r.Report().TooShort, c.long: r.Report().TooLong} {
			if (what == "") != (d.Documents == 0) || what != "" && !strings.HasSuffix(d.First[0], what) || len(d.First) > maxExamples {
				t.Errorf("%+v: %q in %+v", c.f, what, d)
			}
		}
	}
	_, _, err = readMarked(t, "a.txt", "a\nb", ReaderOptions{Unit: "line", Filters: Filters{MinBytes: 2}})
	if err == nil || !strings.Contains(err.Error(), "no documents in 1 files (0 empty, 2 filtered, 0 skipped)") {
		t.Error(err)
	}
}

func TestHashSet(t *testing.T) {
	var s hashSet
	seen := map[uint64]bool{}
	d := draw(71)
	for range 20_000 {
		h := uint64(d.IntN(9000)) // neighbours, and each about twice
		if h%2 == 0 {
			h <<= 50 // the same low bits
		}
		if s.add(h) == seen[h] {
			t.Fatalf("%#x: seen before is %t", h, seen[h])
		}
		seen[h] = true
	}
	if got, most := 8*len(s.slots), 22*len(seen); got > most {
		t.Errorf("%d bytes for %d hashes", got, len(seen))
	}
}
