// Package report shows what a run does: log.jsonl for machines, a progress line for the person at the terminal, and a
// self-contained HTML page of one or several runs. It only reads numbers that training has anyway.
package report

// Header is the first line of a log, {"type":"run"}: what is needed to run it again and to read the rest.
type Header struct {
	Name          string            `json:"name,omitempty"` // of the run, for legends; readers fall back on the folder's
	Time          string            `json:"time"`           // RFC 3339, UTC
	Objective     string            `json:"objective,omitempty"`
	Seed          uint64            `json:"seed"`
	Device        string            `json:"device"` // with what decides the bits: BLAS build, core type, threads
	Versions      map[string]string `json:"versions"`
	Parameters    int64             `json:"parameters,omitempty"`
	Steps         int64             `json:"steps,omitempty"`     // planned
	FLOPRule      string            `json:"flop_rule,omitempty"` // how FLOP/s and MFU are counted, and against which peak
	Configuration any               `json:"configuration"`       // resolved; any JSON value
}

// Step is one log step's line, {"type":"step"}. Rates are means over the steps since the line before.
type Step struct {
	Step        int64              `json:"step"` // updates done, this one included
	Epoch       float64            `json:"epoch"`
	Phase       string             `json:"phase"`
	Loss        float64            `json:"loss"` // also written as a hex float, "loss_hex"
	LossParts   map[string]float64 `json:"loss_parts,omitempty"`
	Measures    map[string]float64 `json:"measures,omitempty"` // further figures of the objective, such as kl and unwanted_log_p of tnt
	Accuracy    *float64           `json:"accuracy,omitempty"` // 0 to 1
	GradNorm    float64            `json:"grad_norm"`          // before clipping
	LR          float64            `json:"lr"`
	Tokens      int64              `json:"tokens"`                 // since the start of the run
	Bare        int64              `json:"without_loss,omitempty"` // documents and pieces of this update without a token that bears a loss
	Skipped     int64              `json:"skipped"`                // updates not applied because they were not finite, since the start
	TokensPerS  float64            `json:"tokens_per_s"`
	FLOPsPerS   float64            `json:"flops_per_s"`
	MFU         *float64           `json:"mfu"`          // 0 to 1; null when the device's peak is not known
	DataWait    float64            `json:"data_wait"`    // share of the time spent waiting for data, 0 to 1
	MemoryBytes int64              `json:"memory_bytes"` // of the process
	DeviceBytes int64              `json:"device_memory_bytes,omitempty"`
	Seconds     float64            `json:"seconds"` // of training, earlier processes of a resumed run included
}

// Eval is an evaluation on held-out data, {"type":"eval"}. The baseline answers every row with the unigram distribution.
type Eval struct {
	Step             int64    `json:"step"`
	Phase            string   `json:"phase,omitempty"`
	Loss             float64  `json:"loss"`          // nats a row; also written as "loss_hex"
	NLL              *float64 `json:"nll,omitempty"` // of the rows' targets, where the loss is another figure
	Accuracy         *float64 `json:"accuracy,omitempty"`
	Perplexity       float64  `json:"perplexity"` // exp(NLL)
	Rows             int64    `json:"rows"`
	BaselineAccuracy *float64 `json:"baseline_accuracy,omitempty"`
	BaselineLoss     *float64 `json:"baseline_loss,omitempty"` // to hold against NLL, or the loss where that is the same
	// Measures are further figures of the objective, such as kl and unwanted_log_p of tnt.
	Measures map[string]float64 `json:"measures,omitempty"`
	Seconds  float64            `json:"seconds"` // as in Step
}

// Example is a line of held-out text with masks and the model's answers, {"type":"example"}.
type Example struct {
	Step  int64  `json:"step"`
	Text  string `json:"text"` // with the masks in place
	Mask  string `json:"mask"` // how a mask is written in Text, such as "[MASK]"
	Masks []Hole `json:"masks"`
}

// Hole is one mask of an Example, in the order of the text.
type Hole struct {
	Expected string   `json:"expected"`
	Answers  []Answer `json:"answers"` // best first
}

// Answer is a token and its probability.
type Answer struct {
	Token string  `json:"token"`
	P     float64 `json:"p"`
}

// Classes says what the data set's classes of tokens are, boilerplate and reasoning, {"type":"classes"}.
type Classes struct {
	Step        int64      `json:"step"`
	Boilerplate int64      `json:"boilerplate"` // tokens
	Reasoning   int64      `json:"reasoning"`
	Bins        []ClassBin `json:"bins"` // histogram of what decided the class
}

// ClassBin is a bin of a histogram.
type ClassBin struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
	Class string `json:"class"` // boilerplate or reasoning
}

// Resume marks where a later process took the run up, {"type":"resume"}: Step is the last step of its checkpoint.
type Resume struct {
	Step     int64             `json:"step"`
	Time     string            `json:"time"`
	Device   string            `json:"device"`
	Versions map[string]string `json:"versions"`
}

// Note is a remark in words, {"type":"note"}: a checkpoint fallen back to, lines of the log that were lost.
type Note struct {
	Step int64  `json:"step"`
	Text string `json:"text"`
}

// TimeFields are the keys whose values depend on the clock or the machine's load. All others of two runs of the same
// configuration on the same device are equal.
var TimeFields = []string{"time", "seconds", "tokens_per_s", "flops_per_s", "mfu", "data_wait", "memory_bytes"}

// lineType names the type of a line for its "type" key, "" when the value brings its own.
func lineType(line any) string {
	switch line.(type) {
	case Header, *Header:
		return "run"
	case Step, *Step:
		return "step"
	case Eval, *Eval:
		return "eval"
	case Example, *Example:
		return "example"
	case Classes, *Classes:
		return "classes"
	case Resume, *Resume:
		return "resume"
	case Note, *Note:
		return "note"
	}
	return ""
}
