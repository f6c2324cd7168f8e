package text

import (
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// columns writes sentences, given as "token/tag token/tag", in CoNLL's manner.
func columns(separator string, sentences ...string) string {
	var b strings.Builder
	for _, s := range sentences {
		for pair := range strings.FieldsSeq(s) {
			token, tag, _ := strings.Cut(pair, "/")
			b.WriteString(token + separator + tag + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestSchemes(t *testing.T) {
	want := []string{"1:in [New York|LOC] [Paris|LOC] [Ann|PER] .", "8:[é b|X] [c|X] [d e f|Y]"}
	for scheme, sentences := range map[Scheme][2]string{
		IOB1:  {"in/O New/I-LOC York/I-LOC Paris/B-LOC Ann/I-PER ./O", "é/I-X b/I-X c/B-X d/I-Y e/I-Y f/I-Y"},
		IOB2:  {"in/O New/B-LOC York/I-LOC Paris/B-LOC Ann/B-PER ./O", "é/B-X b/I-X c/B-X d/B-Y e/I-Y f/I-Y"},
		IOBES: {"in/O New/B-LOC York/E-LOC Paris/S-LOC Ann/S-PER ./O", "é/B-X b/E-X c/S-X d/B-Y e/I-Y f/E-Y"},
		BILOU: {"in/O New/B-LOC York/L-LOC Paris/U-LOC Ann/U-PER ./O", "é/B-X b/L-X c/U-X d/B-Y e/I-Y f/L-Y"},
	} {
		for _, separator := range []string{"\t", " ", "  \t"[:2]} {
			for _, given := range []string{"", string(scheme)} {
				docs, r, err := readMarked(t, "a.conll", columns(separator, sentences[0], sentences[1]), ReaderOptions{Scheme: given})
				wantDocs(t, string(scheme), docs, err, want...)
				if rep := r.Report(); rep.Schemes[scheme] != 1 || len(rep.Schemes) != 1 || rep.Entities != 6 {
					t.Errorf("%s: report %+v", scheme, rep)
				}
				equal(t, "types", r.EntityTypes(), []string{"LOC", "PER", "X", "Y"})
			}
		}
	}
}

func TestCoNLLLayout(t *testing.T) {
	content := "\xEF\xBB\xBF-DOCSTART- -X- -X- O\r\n\r\nEU NNP I-NP I-ORG\r\nrejects VBZ I-VP O\r\n\r\n\r\n-DOCSTART- -X- O O\nPeter NNP I-NP I-PER\nBlackburn NNP I-NP I-PER"
	docs, r, err := readMarked(t, "a.conll", content, ReaderOptions{})
	wantDocs(t, "CoNLL 2003", docs, err, "3:[EU|ORG] rejects", "8:[Peter Blackburn|PER]")
	if rep := r.Report(); rep.DocStarts != 2 || rep.Schemes[IOB1] != 1 {
		t.Errorf("report %+v", rep)
	}
	docs, _, err = readMarked(t, "a.tsv", "7\tB-X\ta b\n8\tI-X\tc\n", ReaderOptions{Format: "conll", TokenColumn: 3, TagColumn: 2})
	wantDocs(t, "columns", docs, err, "1:[a b c|X]")
	docs, _, err = readMarked(t, "a.conll", "a B\nb I\nc O\n", ReaderOptions{})
	wantDocs(t, "no types", docs, err, "1:[a b|entity] c")
	docs, _, err = readMarked(t, "a.conll", "a O\nb O\n", ReaderOptions{})
	wantDocs(t, "nothing", docs, err, "1:a b")
}

func TestBadCoNLL(t *testing.T) {
	for _, c := range []struct{ content, scheme, want string }{
		{"a O\nb B-X\nc O\nd I-X\n", "", "a.conll:4: I-X begins an entity in iob2; hint: correct the file, or --repair-tags"},
		{"a B-X\nb I-Y\n", "", "a.conll:2: I-Y begins an entity in iob2"},
		{"a I-X\n", "iob2", "a.conll:1: I-X begins"},
		{"a O\nb B-X\n", "iob1", "a.conll:2: B-X does not follow an entity of its type in iob1"},
		{"a B-X\nb O\nc S-X\n", "", `a.conll:2: O before the end of an entity of type "X" in iobes`},
		{"a S-X\nb B-X\n", "", "a.conll:2: B-X ends the sentence before the entity's end in iobes"},
		{"a B-X\nb L-Y\n", "", `a.conll:2: L-Y before the end of an entity of type "X" in bilou`},
		{"a O\nb L-X\n", "", "a.conll:2: L-X ends no entity in bilou"},
		{"a S-X\n", "iob2", "a.conll:1: S-X has no place in iob2; hint: --scheme iobes"},
		{"a U-X\n", "iobes", "a.conll:1: U-X has no place in iobes; hint: --scheme bilou"},
		{"a S-X\nb U-X\n", "", "tags of iobes (E, S: 1) and of bilou (L, U: 1)"},
		{"a B-X\nb\n", "", "a.conll:2: 1 columns, the first line has 2"},
		{"# id 1 x\na B-X\n", "", "a.conll:1: tag \"x\": expected O"},
		{"a\n", "", "one column \"a\""},
		{"a\t\n", "", "a.conll:1: the tag is empty"},
		{"\tO\n", "", "a.conll:1: the token is empty"},
		{"a Q-X\n", "", "tag \"Q-X\": expected O"},
		{"a B-\n", "", "tag \"B-\""},
		{"a b\n", "", "tag \"b\""},
		{"a B-X\x01\n", "", "a.conll:1: entity type"},
		{"\n\n", "", "no documents"},
	} {
		_, _, err := readMarked(t, "a.conll", c.content, ReaderOptions{Scheme: c.scheme})
		wantKind(t, err, fault.Data, c.want)
	}
	content := "a O\nb I-X\n\nc B-X\n\nd B-X\ne Q\nf O\n\ng O\n"
	docs, r, err := readMarked(t, "a.conll", content, ReaderOptions{Scheme: "iob2", OnBadRecord: "skip"})
	wantDocs(t, "skip", docs, err, "4:[c|X]", "10:g")
	if r.Report().Skipped != 2 {
		t.Errorf("report %+v", r.Report())
	}
	_, _, err = readMarked(t, "a.conll", "a O\nbbbbbbbb O\nc O\n", ReaderOptions{MaxDocument: 10})
	wantKind(t, err, fault.Data, "a.conll:2: sentence of more than 10 bytes")
	_, _, err = readMarked(t, "a.conll", "a O\nbbbbbbbb O\nc O\n", ReaderOptions{MaxLine: 9})
	wantKind(t, err, fault.Data, "a.conll:2: line of 11 bytes, the limit is 9")
	_, err = Open(ReaderOptions{Paths: []string{"-"}, Format: "conll"})
	wantKind(t, err, fault.Usage, "give the scheme")
}

func TestRepair(t *testing.T) {
	for _, c := range []struct {
		scheme  Scheme
		tags    string
		want    string
		repairs int
	}{
		{IOB2, "a/O b/I-X c/I-X d/I-Y e/B-Y", "a [b c|X] [d|Y] [e|Y]", 2},
		{IOB1, "a/B-X b/I-X c/O", "[a b|X] c", 1},
		{IOBES, "a/B-X b/O c/I-X d/E-X e/E-Y f/I-Y", "[a|X] b [c d|X] [e|Y] [f|Y]", 5},
		{IOBES, "a/B-X b/S-X c/B-Y d/E-X", "[a|X] [b|X] [c|Y] [d|X]", 2},
		{BILOU, "a/I-X b/L-X", "[a b|X]", 1},
	} {
		docs, r, err := readMarked(t, "a.conll", columns(" ", c.tags), ReaderOptions{Scheme: string(c.scheme), Repair: true})
		wantDocs(t, c.tags, docs, err, "1:"+c.want)
		if rep := r.Report(); rep.Repairs != c.repairs || rep.Repaired.Documents != 1 || !strings.Contains(rep.Repaired.String(), "1 (a.conll:") &&
			!strings.Contains(rep.Repaired.String(), "/a.conll:") {
			t.Errorf("%s: %d repairs (%s), want %d", c.tags, rep.Repairs, rep.Repaired, c.repairs)
		}
	}
}

// Any bytes as CoNLL: what is read without repair reads the same with it, and the entities written as IOB2 read the same.
func FuzzCoNLL(f *testing.F) {
	f.Add("a B-X\nb I-X\n\nc O\n", byte(0))
	f.Add("-DOCSTART- O\n\na\tS-X\nb\tB-Y\nc\tE-Y\n", byte(3))
	f.Add("a U\nb L-X", byte(4))
	schemes := []string{"auto", "iob1", "iob2", "iobes", "bilou"}
	f.Fuzz(func(t *testing.T, content string, which byte) {
		o := ReaderOptions{Scheme: schemes[int(which)%len(schemes)], OnBadRecord: "skip", MaxLine: 1000, MaxDocument: 2000}
		strict, r, err := readMarked(t, "a.conll", content, o)
		if err != nil {
			wantKind(t, err, fault.Data)
			return
		}
		if r.Report().Skipped > 0 {
			return
		}
		o.Repair = true
		repaired, _, err := readMarked(t, "a.conll", content, o)
		wantDocs(t, "with repair", repaired, err, strict...)
		var again strings.Builder
		for d, err := range r.Documents() {
			if err != nil {
				t.Fatal(err)
			}
			checkSpans(t, d, r.types)
			if strings.ContainsAny(string(d.Text), "\t\r\v\f\u0085\u00a0") {
				return // tokens with white space inside have no place in columns of spaces
			}
			at := 0
			for _, word := range strings.Split(string(d.Text), " ") {
				tag := "O"
				for _, s := range d.Spans {
					if s.Start <= at && at < s.End {
						tag = "I-T" + string(rune('a'+s.Type%26))
						if s.Start == at {
							tag = "B" + tag[1:]
						}
					}
				}
				again.WriteString(word + "\t" + tag + "\n")
				at += len(word) + 1
			}
			again.WriteString("\n")
		}
		if strings.Contains(again.String(), "-DOCSTART-") || strings.Contains(again.String(), "\t\t") || len(again.String()) > 2000 {
			return
		}
		_, r2, err := readMarked(t, "a.conll", again.String(), ReaderOptions{Scheme: "iob2", OnBadRecord: "skip"})
		if err == nil && r2.Report().Skipped == 0 && r2.Report().Entities != r.Report().Entities {
			t.Errorf("%d entities, written as IOB2 %d", r.Report().Entities, r2.Report().Entities)
		}
	})
}
