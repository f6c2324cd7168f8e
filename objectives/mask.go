package objectives

import (
	"fmt"
	"maps"
	"slices"
)

// Mask is the run file's section on masking.
type Mask struct {
	P         float64            `yaml:"p" min:"0" max:"1" doc:"share of the tokens that are selected"`
	Unit      string             `yaml:"unit" enum:"token,word,span" doc:"what is selected as a whole: single tokens, whole words, or spans"`
	Span      Span               `yaml:"span" doc:"lengths of spans, for unit: span"`
	Replace   [3]float64         `yaml:"replace" doc:"shares of the selected tokens that become the mask token, a random token, or stay"`
	Order     string             `yaml:"order" enum:"random,seldom" doc:"which are selected: random ones; or (GPT-BERT) those of the lowest scores, a random number a unit times the softmax of how often earlier epochs selected the token, so that seldom selected ones come first. Earlier epochs are drawn again, so planning takes as many times as long as there were epochs"`
	ReplaceBy string             `yaml:"replace_by" enum:"token,unit" doc:"whether every selected token draws its replacement, or all tokens of a unit share one of the three fates"`
	Schedule  MaskSchedule       `yaml:"schedule" doc:"share of selected tokens over the run; evaluations always use that of the start"`
	Kinds     map[string]float64 `yaml:"kinds,omitempty" min:"0" max:"1" doc:"shares by kind, from the data set's bio plane: entity is the share of entities that are masked whole, base that of all other tokens; either defaults to p"`
}

// Span is how long spans are. Spans tile the text between special tokens, each of its own length, and are selected in
// random order until the share is reached, so that they never overlap; the last one is cut to the exact number.
type Span struct {
	Kind string  `yaml:"kind" enum:"uniform,geometric" doc:"distribution of lengths: uniform from min to max (GPT-BERT: 1 to 3), or geometric from min on, no longer than max (SpanBERT: p 0.2, max 10; LTG-BERT: p 1/3, max 9)"`
	Min  int     `yaml:"min" min:"1" max:"4096" doc:"shortest span"`
	Max  int     `yaml:"max" min:"1" max:"4096" doc:"longest span"`
	P    float64 `yaml:"p" min:">0" max:"<1" doc:"of the geometric distribution: chance that a span ends at each further token"`
	Of   string  `yaml:"of" enum:"token,word" doc:"what lengths count: tokens, or whole words"`
}

// MaskSchedule is the share of selected tokens over the run.
type MaskSchedule struct {
	Kind  string  `yaml:"kind" enum:"constant,linear" doc:"constant, or linear from mask.p at the first step to final at the last; rates by kind change in the same proportion"`
	Final float64 `yaml:"final" min:"0" max:"1" doc:"share at the last step, for kind: linear"`
}

// Kinds of tokens that may have shares of their own.
const (
	KindEntity = "entity"
	KindBase   = "base"
)

// Values of the bio plane: 0 outside, 1+2k the first and 2+2k the further tokens of an entity of type k, NoLabel unknown.
const (
	planeBIO   = "bio"
	planeClass = "class"
)

// PlaneLoss is the plane whose zeros mark tokens that are context only.
const PlaneLoss = "loss"

// DefaultMask is BERT's: 15 % of the tokens, of which 80 % become [MASK], 10 % a random token, 10 % stay.
func DefaultMask() Mask {
	return Mask{P: 0.15, Unit: "token", Order: "random", Replace: [3]float64{0.8, 0.1, 0.1}, ReplaceBy: "token",
		Span: Span{Kind: "uniform", Min: 1, Max: 3, P: 0.2, Of: "token"}, Schedule: MaskSchedule{Kind: "constant", Final: 0.15}}
}

// Validate returns what is wrong, each message beginning with the key.
func (m Mask) Validate() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !(m.P > 0 && m.P <= 1) {
		bad("p: want a share above 0 and at most 1, not %g", m.P)
	}
	if m.P == 1 && m.Schedule.Kind != "linear" && len(m.Kinds) == 0 {
		bad("p: 1 selects every token, so nothing is left to predict from; hint: 0.15, or a schedule")
	}
	sum := 0.0
	for _, share := range m.Replace {
		if !(share >= 0 && share <= 1) {
			bad("replace: want shares in [0,1], not %g", share)
		}
		sum += share
	}
	if sum < 1-1e-9 || sum > 1+1e-9 {
		bad("replace: the three shares must add up to 1, not %g", sum)
	}
	if m.Unit == "span" {
		if m.Span.Max < m.Span.Min {
			bad("span.max: %d is less than span.min %d", m.Span.Max, m.Span.Min)
		}
		if m.Span.Kind == "geometric" && !(m.Span.P > 0 && m.Span.P < 1) {
			bad("span.p: want a number between 0 and 1, not %g", m.Span.P)
		}
	}
	if m.Order == "seldom" && (m.Unit == "word" || m.Unit == "span" && m.Span.Of == "word" || len(m.Kinds) > 0) {
		bad("order: seldom counts single tokens; hint: mask.unit: token, or span with mask.span.of: token, and no mask.kinds")
	}
	if m.Schedule.Kind == "linear" && !(m.Schedule.Final > 0 && m.Schedule.Final <= 1) {
		bad("schedule.final: want a share above 0 and at most 1, not %g", m.Schedule.Final)
	}
	for _, kind := range slices.Sorted(maps.Keys(m.Kinds)) {
		if kind != KindEntity && kind != KindBase {
			bad("kinds.%s: there is no such kind; known: %s, %s", kind, KindEntity, KindBase)
		} else if share := m.Kinds[kind]; !(share >= 0 && share <= 1) {
			bad("kinds.%s: want a share in [0,1], not %g", kind, share)
		}
	}
	return problems
}

// rate returns the share of a kind after a part of the run (0 at its first step, 1 at its last).
func (m Mask) rate(kind string, progress float64) float64 {
	p, ok := m.Kinds[kind]
	if !ok {
		p = m.P
	}
	if m.Schedule.Kind == "linear" {
		p *= 1 + (m.Schedule.Final/m.P-1)*progress
	}
	return min(1, p)
}
