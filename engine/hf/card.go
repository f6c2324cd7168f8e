package hf

import (
	"fmt"
	"strings"
	"time"
)

// A Card is the record of a run, from which the model card is made.
type Card struct {
	Name          string
	Version       string // of this program
	Origin        string // folder that the weights came from; "" where they began at random
	Objectives    []string
	Step          int64
	Created       time.Time // of the checkpoint
	Trained       bool      // there is a record of the training
	Device        string
	Versions      map[string]string
	Losses        []CardLoss
	Evaluations   []CardEvaluation
	Data          *CardData // nil: the data set is not at hand
	Configuration []byte    // YAML
}

// CardLoss is a line of the training log.
type CardLoss struct {
	Step, Tokens int64
	Loss         float64
}

// CardEvaluation is an evaluation on held-out documents.
type CardEvaluation struct {
	Step       int64
	Phase      string
	Loss       float64
	Perplexity float64
	Rows       int64
	Accuracy   *float64
	Baseline   *float64
}

// CardData is the data set.
type CardData struct {
	Documents, Tokens int64
	Hash, CreatedBy   string
	Sources           []string
}

// tags are the tasks of the classes, in Hugging Face's words.
var tags = []struct{ suffix, pipeline string }{{"ForMaskedLM", "fill-mask"}, {"LMHeadModel", "text-generation"}, {"ForCausalLM", "text-generation"},
	{"ForTokenClassification", "token-classification"}, {"ForSequenceClassification", "text-classification"}, {"Model", "feature-extraction"}}

// classes that open a folder, by the same suffixes.
var autoClasses = map[string]string{"fill-mask": "AutoModelForMaskedLM", "text-generation": "AutoModelForCausalLM",
	"token-classification": "AutoModelForTokenClassification", "text-classification": "AutoModelForSequenceClassification", "feature-extraction": "AutoModel"}

// Markdown is README.md of an exported folder.
func (c *Card) Markdown(e Exported) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	pipeline := ""
	for _, t := range tags {
		if strings.HasSuffix(e.Architecture, t.suffix) {
			pipeline = t.pipeline
			break
		}
	}
	line("---\nlibrary_name: transformers\npipeline_tag: %s\ntags: [palimpsest]\n---\n", pipeline)
	line("# %s\n", c.Name)
	line("A %s of %d parameters, in %s, exported by palimpsest %s.\n", e.Architecture, e.Parameters, e.DType, c.Version)
	line("```python\nfrom transformers import AutoTokenizer, %s\ntokenizer = AutoTokenizer.from_pretrained(\"%s\")\nmodel = %[1]s.from_pretrained(\"%[2]s\")\n```\n", autoClasses[pipeline], c.Name)
	if len(e.Lost) > 0 {
		line("**The architecture does not hold all of the model that was trained. Its outputs differ from that model's until it is trained further.** It lacks:\n")
		for _, l := range e.Lost {
			line("- `%s`", l)
		}
		line("")
	}
	line("## Training\n")
	switch {
	case !c.Trained && c.Origin != "":
		line("The weights are those of the folder `%s` as they were imported.\n", c.Origin)
	case c.Origin != "":
		line("The weights go back to the folder `%s`, from where they were trained further.\n", c.Origin)
	}
	if c.Trained {
		line("- objective: %s", strings.Join(c.Objectives, ", then "))
		line("- steps: %d", c.Step)
		if n := len(c.Losses); n > 0 {
			line("- training tokens: %d", c.Losses[n-1].Tokens)
		}
		line("- device: %s", c.Device)
		line("- checkpoint of: %s", c.Created.UTC().Format("2006-01-02 15:04 UTC"))
		for _, key := range []string{"palimpsest", "go", "tokenizer"} {
			if v := c.Versions[key]; v != "" {
				line("- %s: %s", key, v)
			}
		}
		line("")
	}
	if d := c.Data; d != nil {
		line("Data: %d documents, %d tokens; index hash `%s`, made by %s. Sources:\n", d.Documents, d.Tokens, d.Hash, d.CreatedBy)
		for i, s := range d.Sources {
			if i == 20 {
				line("- and %d more", len(d.Sources)-i)
				break
			}
			line("- `%s`", s)
		}
		line("")
	}
	c.results(line)
	for _, n := range e.Notes {
		line("Note: %s\n", n)
	}
	line("## Configuration\n\n```yaml\n%s```", c.Configuration)
	return []byte(b.String())
}

// results are the tables of losses.
func (c *Card) results(line func(format string, args ...any)) {
	if len(c.Losses) > 0 {
		line("| step | tokens | training loss |\n| --- | --- | --- |")
		const most = 10
		for i := range min(most, len(c.Losses)) { // spread evenly, the last one included
			at := len(c.Losses) - 1
			if n := min(most, len(c.Losses)); n > 1 {
				at = i * (len(c.Losses) - 1) / (n - 1)
			}
			l := c.Losses[at]
			line("| %d | %d | %.4f |", l.Step, l.Tokens, l.Loss)
		}
		line("")
	}
	if len(c.Evaluations) > 0 {
		line("On held-out documents:\n\n| step | objective | rows | loss | perplexity | accuracy | unigram loss |\n| --- | --- | --- | --- | --- | --- | --- |")
		for _, e := range c.Evaluations[max(0, len(c.Evaluations)-10):] {
			percent := func(p *float64, scale float64, unit string) string {
				if p == nil {
					return ""
				}
				return fmt.Sprintf("%.4g%s", *p*scale, unit)
			}
			line("| %d | %s | %d | %.4f | %.2f | %s | %s |", e.Step, e.Phase, e.Rows, e.Loss, e.Perplexity, percent(e.Accuracy, 100, " %"), percent(e.Baseline, 1, ""))
		}
		line("")
	}
}
