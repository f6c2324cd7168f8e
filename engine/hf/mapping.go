package hf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"palimpsest/engine/model"
)

// A rule says which tensors of theirs a parameter of ours is. In names * stands for the number of a layer; theirs are without
// the family's prefix, but for those that begin with a slash, which stand beside the body and never have it.
type rule struct {
	ours      string
	theirs    []string // their rows one after the other are ours
	also      []string // further names of theirs[0], tied to it: equal where they are present, not written
	transpose bool     // theirs is [in, out] (Conv1D), ours [out, in]
}

// norms gives the rules of a norm, which has a bias or not.
func norms(ours, theirs string) []rule {
	return []rule{{ours: ours + ".weight", theirs: []string{theirs + ".weight"}}, {ours: ours + ".bias", theirs: []string{theirs + ".bias"}}}
}

// linears gives the rules of a linear layer, which has a bias or not, put together from several of theirs.
func linears(ours string, theirs ...string) []rule {
	weight, bias := rule{ours: ours + ".weight"}, rule{ours: ours + ".bias"}
	for _, t := range theirs {
		weight.theirs, bias.theirs = append(weight.theirs, t+".weight"), append(bias.theirs, t+".bias")
	}
	return []rule{weight, bias}
}

// conv1D is linears for weights that are stored [in, out].
func conv1D(ours, theirs string) []rule {
	rules := linears(ours, theirs)
	rules[0].transpose = true
	return rules
}

// one is the rule of a tensor that is the same on both sides.
func one(ours, theirs string, also ...string) []rule {
	return []rule{{ours: ours, theirs: []string{theirs}, also: also}}
}

// A leftover is a tensor that folders may hold and that nothing here needs.
type leftover struct {
	theirs string // as in rules; a trailing ** stands for any end
	why    string
}

// A family is an architecture of transformers.
type family struct {
	name      string // model_type
	prefix    string // of the body's tensors in classes with a head
	body      string // class without a head
	lm        string // class with the LM head
	tokens    string // class with a head for every token; "" where ours does not fit it
	sequences string // class with a head for a sequence; "" likewise
	causal    bool

	rules      []rule
	classifier func(kind string) []rule // rules of a classification head, whose name is * in ours
	leftovers  []leftover

	// read turns config.json into ours, and write the other way round.
	read  func(s *settings) model.Config
	write func(c model.Config, f facts) object
	// hold returns the configuration with every choice that the architecture has no place for replaced by the one that it has.
	hold func(c model.Config, f facts) model.Config
}

var families = []*family{gpt2, llama, roberta, bert, modernBERT}

func familyNames() string {
	var names []string
	for _, f := range families {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// A piece is a tensor of theirs that holds some rows of a parameter of ours.
type piece struct {
	name  string
	also  []string
	shape []int // of theirs
	from  int   // first row of ours
	rows  int
}

// A place is a parameter of ours with all its pieces.
type place struct {
	param     *model.Param
	index     int // in the model's parameters
	pieces    []piece
	transpose bool
}

// full adds the family's prefix to a name of a rule.
func (f *family) full(name string) string {
	if bare, beside := strings.CutPrefix(name, "/"); beside {
		return bare
	}
	return f.prefix + name
}

// places lays out a configuration's parameters over tensors of theirs. Those without a rule have no pieces.
func (f *family) places(c model.Config) (list []place) {
	rules := f.rules
	for _, h := range c.Classifiers {
		if f.classifier != nil {
			for _, r := range f.classifier(h.Kind) {
				r.ours = strings.Replace(r.ours, "*", h.Name, 1)
				rules = append(slices.Clip(rules), r)
			}
		}
	}
	for i, p := range model.Layout(c).Params {
		pattern, layer := general(p.Name)
		at := place{param: p, index: i}
		if k := slices.IndexFunc(rules, func(r rule) bool { return r.ours == pattern || r.ours == p.Name }); k >= 0 {
			at.cut(f, c, rules[k], layer)
		}
		list = append(list, at)
	}
	untie(list)
	return list
}

// untie takes those names away from tied tensors that have a parameter of their own: the weight of a free head.
func untie(list []place) {
	own := map[string]bool{}
	for _, p := range list {
		for _, at := range p.pieces {
			own[at.name] = true
		}
	}
	for _, p := range list {
		for i := range p.pieces {
			p.pieces[i].also = slices.DeleteFunc(p.pieces[i].also, func(name string) bool { return own[name] })
		}
	}
}

// cut gives a place the pieces of a rule.
func (p *place) cut(f *family, c model.Config, r rule, layer string) {
	name := func(theirs string) string { return f.full(strings.Replace(theirs, "*", layer, 1)) }
	p.transpose = r.transpose
	from := 0
	for i, rows := range rowsOf(c, p.param, len(r.theirs)) {
		shape := slices.Clone(p.param.Shape)
		shape[0] = rows
		if r.transpose {
			slices.Reverse(shape)
		}
		at := piece{name: name(r.theirs[i]), shape: shape, from: from, rows: rows}
		for _, also := range r.also {
			at.also = append(at.also, name(also))
		}
		p.pieces = append(p.pieces, at)
		from += rows
	}
}

// rowsOf cuts the rows of a parameter: into equal halves (gates and values), or into those of query, key and value heads.
func rowsOf(c model.Config, p *model.Param, pieces int) []int {
	rows := p.Shape[0]
	switch pieces {
	case 1:
		return []int{rows}
	case 2:
		return []int{rows / 2, rows / 2}
	}
	D := c.Width / c.Heads
	return []int{c.Heads * D, c.KVHeads * D, c.KVHeads * D}
}

// general replaces the number of the layer in a name by *.
func general(name string) (pattern, layer string) {
	rest, ok := strings.CutPrefix(name, "layers.")
	if !ok {
		return name, ""
	}
	layer, rest, _ = strings.Cut(rest, ".")
	return "layers.*." + rest, layer
}

// canonical returns the name that the family's rules have for a tensor of a folder: with the prefix of the body, old names of
// norms replaced.
func (f *family) canonical(name string) string {
	for old, now := range map[string]string{".gamma": ".weight", ".beta": ".bias"} { // before transformers 0.6 or so, from TensorFlow
		if bare, ok := strings.CutSuffix(name, old); ok && strings.HasSuffix(bare, "LayerNorm") {
			name = bare + now
		}
	}
	if strings.HasPrefix(name, f.prefix) || f.beside(name) {
		return name
	}
	return f.prefix + name
}

// beside reports whether a tensor stands beside the body.
func (f *family) beside(name string) bool {
	match := func(theirs string) bool {
		bare, ok := strings.CutPrefix(theirs, "/")
		return ok && matches(bare, name)
	}
	for _, r := range f.rules {
		if slices.ContainsFunc(r.theirs, match) || slices.ContainsFunc(r.also, match) {
			return true
		}
	}
	for _, kind := range []string{"token", "sequence"} {
		if f.classifier != nil {
			for _, r := range f.classifier(kind) {
				if slices.ContainsFunc(r.theirs, match) {
					return true
				}
			}
		}
	}
	return slices.ContainsFunc(f.leftovers, func(l leftover) bool { return match(l.theirs) })
}

// left returns why a tensor, by its canonical name, is not needed.
func (f *family) left(name string) (why string, ok bool) {
	for _, l := range f.leftovers {
		if matches(f.full(l.theirs), name) {
			return l.why, true
		}
	}
	return "", false
}

// matches compares a name with a pattern in which * is a number and a final ** anything.
func matches(pattern, name string) bool {
	if front, ok := strings.CutSuffix(pattern, "**"); ok {
		if n := strings.Count(front, "."); strings.Count(name, ".") >= n {
			return matchParts(front, strings.Join(strings.SplitAfterN(name, ".", n+1)[:n], ""))
		}
		return false
	}
	return matchParts(pattern, name)
}

func matchParts(pattern, name string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(name, ".")
	if len(want) != len(have) {
		return false
	}
	for i, w := range want {
		if w == "*" {
			if _, err := strconv.ParseUint(have[i], 10, 31); err != nil {
				return false
			}
		} else if w != have[i] {
			return false
		}
	}
	return true
}

// describe is a shape with its tensor, for messages.
func describe(name string, shape []int) string { return fmt.Sprintf("%s %v", name, shape) }
