package objectives

import (
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
)

func labelled(id int64, n int, plane string, labels ...byte) Document {
	d := document(id, 0, n)
	d.Planes = map[string][]byte{plane: labels}
	return d
}

func classifySettings() Settings {
	s := settings(DefaultMask())
	s.Classify = DefaultClassify()
	s.Heads = []Head{{Name: "entities", Kind: "token", Classes: 3}, {Name: "topic", Kind: "sequence", Classes: 4}, {Name: "mood", Kind: "sequence", Classes: 2}}
	return s
}

func TestClassifyAsksForTheClassOfTheFirstToken(t *testing.T) {
	docs := []Document{labelled(0, 4, "label", 3, 3, 3, 3), labelled(1, 2, "label", NoLabel, 1), labelled(2, 3, "label", 0, 2, 2)}
	s := classifySettings()
	p := planned(t, "classify", s, docs...)
	term := p.Terms[0]
	if term.Head != "topic" || term.Classes != 4 || !slices.Equal(term.Rows, []int32{0, 6}) || !slices.Equal(term.Targets, []int32{3, 0}) ||
		!slices.Equal(term.Offsets, []int32{0, 1, 1, 2}) || p.Segments[0].Mask != kernels.Bidirectional {
		t.Errorf("%+v", term)
	}
	s.Classify = Classify{Head: "topic", Read: "last", Attend: "back"}
	p = planned(t, "classify", s, docs...)
	if term := p.Terms[0]; !slices.Equal(term.Rows, []int32{3, 8}) || p.Segments[0].Mask != kernels.Causal {
		t.Errorf("%+v", term)
	}
}

func TestTagAsksForEveryTokenWithAClass(t *testing.T) {
	p := planned(t, "tag", classifySettings(), labelled(0, 4, "bio", NoLabel, 2, 0, NoLabel), labelled(1, 2, "bio", 1, NoLabel))
	if term := p.Terms[0]; term.Head != "entities" || !slices.Equal(term.Rows, []int32{1, 2, 4}) || !slices.Equal(term.Targets, []int32{2, 0, 1}) {
		t.Errorf("%+v", term)
	}
}

func TestClassifyRefuses(t *testing.T) {
	s := classifySettings()
	o, err := New("classify", s)
	if err != nil {
		t.Fatal(err)
	}
	if got := PlanesOf(o); !slices.Equal(got, []string{"label"}) {
		t.Errorf("planes %v", got)
	}
	p := new(Plan)
	o.Plan(labelled(0, 2, "label", 4, 4), p)
	if err := p.Check(vocab, 512); err == nil || !strings.Contains(err.Error(), "head topic") {
		t.Errorf("class 4 of 4 passed: %v", err)
	}
	s.Classify.Head = "entities" // a token head
	if _, err := New("classify", s); err == nil || !strings.Contains(err.Error(), "topic, mood") {
		t.Errorf("a document's class from a token head: %v", err)
	}
	if _, err := New("tag", settings(DefaultMask())); err == nil {
		t.Error("tag without heads")
	}
	if len((Classify{Read: "first", Attend: "back"}).Validate()) != 1 {
		t.Error("the first token under causal attention passed")
	}
}
