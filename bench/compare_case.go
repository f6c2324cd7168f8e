package bench

import (
	"fmt"
	"slices"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

// A CompareCase is one model on one shape of step.
type CompareCase struct {
	Name      string // size/length
	Objective string
	Model     model.Config
	Vocab     int
	Length    int // tokens of a sequence
	Sequences int
}

// compareSizes are the models that are compared: GPT-2's shape (pre-norm, causal) and BERT's (post-norm, masked), from
// the demo's size to the published ones.
var compareSizes = []struct {
	name, preset         string
	layers, width, heads int // 0: the preset's
	vocab, tokens        int
	lengths              []int
}{
	{"gpt2-tiny", "gpt2", 2, 192, 6, 4096, 2048, []int{128, 256, 512, 1024}},
	{"gpt2-mini", "gpt2", 4, 256, 4, 8192, 2048, []int{128, 256, 512, 1024}},
	{"gpt2-small", "gpt2", 6, 512, 8, 16384, 2048, []int{128, 256, 512, 1024}},
	{"gpt2", "gpt2", 0, 0, 0, 50257, 512, []int{128, 256, 512, 1024}},
	{"bert-tiny", "bert-tiny", 0, 0, 0, 30522, 2048, []int{128, 256, 512}},
	{"bert-small", "bert-small", 0, 0, 0, 30522, 2048, []int{128, 256, 512}},
	{"bert-base", "bert-base", 0, 0, 0, 30522, 512, []int{128, 256, 512}},
}

// CompareCases lists the cases whose names are given: a case (gpt2/512), a size (gpt2) or a length (/512); none: all.
func CompareCases(names []string) (cases []CompareCase, err error) {
	used := make([]bool, len(names))
	var known []string
	for _, s := range compareSizes {
		known = append(known, s.name)
		for _, length := range s.lengths {
			c := CompareCase{Name: fmt.Sprintf("%s/%d", s.name, length), Objective: "mlm", Vocab: s.vocab, Length: length, Sequences: max(1, s.tokens/length),
				Model: model.Config{Preset: s.preset, Layers: s.layers, Width: s.width, Heads: s.heads}}
			if s.preset == "gpt2" {
				c.Objective = "clm"
				c.Model.Vocab = model.AutoInt(s.vocab)
			}
			if s.width > 0 {
				c.Model.KVHeads, c.Model.FF = s.heads, 4*s.width
			}
			take := len(names) == 0
			for i, name := range names {
				if name == c.Name || name == s.name || name == fmt.Sprintf("/%d", length) {
					take, used[i] = true, true
				}
			}
			if take {
				cases = append(cases, c)
			}
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		return nil, fault.Usage.Errorf("--cases: there is no case %q; want SIZE, SIZE/LENGTH or /LENGTH of %s and 128, 256, 512, 1024 (BERT to 512)",
			names[i], strings.Join(known, ", "))
	}
	return cases, nil
}
