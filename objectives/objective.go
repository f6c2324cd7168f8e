package objectives

import (
	"fmt"
	"strings"
)

// Mask is the run file's section on masking.
type Mask struct {
	P       float64    `yaml:"p" min:"0" max:"1" doc:"share of the tokens that are selected"`
	Unit    string     `yaml:"unit" enum:"token" doc:"what is selected as a whole"`
	Replace [3]float64 `yaml:"replace" doc:"shares of the selected tokens that become the mask token, a random token, or stay"`
}

// DefaultMask is BERT's: 15 % of the tokens, of which 80 % become [MASK], 10 % a random token, 10 % stay.
func DefaultMask() Mask { return Mask{P: 0.15, Unit: "token", Replace: [3]float64{0.8, 0.1, 0.1}} }

// Validate returns what is wrong, each message beginning with the key.
func (m Mask) Validate() (problems []error) {
	if !(m.P > 0 && m.P <= 1) {
		problems = append(problems, fmt.Errorf("p: want a share above 0 and at most 1, not %g", m.P))
	}
	sum := 0.0
	for _, share := range m.Replace {
		if !(share >= 0 && share <= 1) {
			problems = append(problems, fmt.Errorf("replace: want shares in [0,1], not %g", share))
		}
		sum += share
	}
	if sum < 1-1e-9 || sum > 1+1e-9 {
		problems = append(problems, fmt.Errorf("replace: the three shares must add up to 1, not %g", sum))
	}
	return problems
}

// Settings are what objectives are made from: their sections of the run file, the seed and the tokenizer.
type Settings struct {
	Seed       uint64
	Vocabulary Vocabulary
	Mask       Mask
	Loss       LossOptions
	Classify   Classify
	Heads      []Head // classification heads of the model
}

// Names lists the objectives that New knows.
func Names() []string { return []string{"clm", "mlm", "classify", "tag"} }

// New returns the objective of that name.
func New(name string, s Settings) (Objective, error) {
	switch name {
	case "clm":
		return &clm{s}, nil
	case "mlm":
		return newMLM(s)
	case "classify", "tag":
		return newClassify(name, s)
	}
	return nil, fmt.Errorf("objective: there is no %q; known: %s", name, strings.Join(Names(), ", "))
}
