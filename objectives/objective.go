package objectives

import (
	"fmt"
	"strings"
)

// Settings are what objectives are made from: their sections of the run file, the seed and the tokenizer.
type Settings struct {
	Seed       uint64
	Vocabulary Vocabulary
	Mask       Mask
	Loss       LossOptions
	Context    bool // the data set's plane "loss" says which tokens are context only: never asked for, never masked
	AntLM      AntLM
	Classify   Classify
	Heads      []Head // classification heads of the model
	MSLM       MSLM
	SHAD       SHAD
	Classes    bool // the data sets have the plane "class"
	EXLM       EXLM
	RMLM       RMLM
	Ends       *Ends // of exlm: what its documents have in common, shared by the run's objectives; may be nil
	TNT        TNT
	NPO        NPO
	Reference  bool      // the run has a frozen reference model
	Expansion  Expansion // of begin and end tokens in classify and tag
	Length     int       // of segments at most: data.length
	Held       bool      // for evaluations

	compat AntLMCompat // of a part of antlm
}

// Names lists the objectives that New knows.
func Names() []string {
	return []string{"clm", "mlm", "mntp", "antlm", "classify", "tag", "mslm", "rft", "exlm", "rmlm", "tnt", "npo"}
}

// New returns the objective of that name.
func New(name string, s Settings) (Objective, error) {
	switch name {
	case "clm":
		return &clm{s}, nil
	case "mlm":
		return newMasked(name, s)
	case "mntp":
		return newMNTP(s)
	case "antlm":
		return newAntLM(s)
	case "mslm":
		return newMSLM(s)
	case "rft":
		return newRFT(s)
	case "exlm":
		return newEXLM(s)
	case "rmlm":
		return newRMLM(s)
	case "tnt":
		return newTNT(s)
	case "npo":
		return newNPO(s)
	case "classify", "tag":
		return newClassify(name, s)
	}
	return nil, fmt.Errorf("objective: there is no %q; known: %s", name, strings.Join(Names(), ", "))
}
