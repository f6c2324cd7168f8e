// Package engine trains models: from a run file and a data set to checkpoints, a log and a report. The loop is in
// trainer.go; its services (shards, text, model, optimiser, checkpoints, evaluation, report) are sub-packages.
package engine

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/engine/runfile"
	"palimpsest/objectives"
)

// Config is the run file. Its keys and defaults are in the README's table, which is made from here.
type Config struct {
	Objective  string                 `yaml:"objective" doc:"what is trained, when there is one phase"`
	Phases     []Phase                `yaml:"phases,omitempty" doc:"instead of objective: one after the other over one optimiser and schedule"`
	Repeat     int64                  `yaml:"repeat" min:"1" max:"4096" doc:"how often the list of phases is run"`
	Model      model.Config           `yaml:"model" doc:"the transformer"`
	Data       Data                   `yaml:"data" doc:"what is read, and how it is packed into steps"`
	Mask       objectives.Mask        `yaml:"mask" doc:"masking of mlm, mntp, exlm and rmlm"`
	AntLM      objectives.AntLM       `yaml:"antlm" doc:"the objective antlm: causal and masked modelling in one step"`
	Classify   objectives.Classify    `yaml:"classify" doc:"the objectives classify and tag"`
	MSLM       objectives.MSLM        `yaml:"mslm" doc:"the objective mslm: masked entities weigh more, and are detected in the same pass"`
	SHAD       objectives.SHAD        `yaml:"shad" doc:"the verbs shad, and the objective rft: reasoning tokens weigh against boilerplate"`
	EXLM       objectives.EXLM        `yaml:"exlm" doc:"the objective exlm: masked tokens have several states, which a learned graph links"`
	RMLM       objectives.RMLM        `yaml:"rmlm" doc:"the objective rmlm: every token stands several times"`
	Loss       objectives.LossOptions `yaml:"loss" doc:"loss of a row while training; evaluations report the plain negative log-likelihood"`
	TNT        objectives.TNT         `yaml:"tnt" doc:"the objective tnt: unwanted tokens are pulled out of the model, the rest is kept"`
	NPO        objectives.NPO         `yaml:"npo" doc:"the objective npo: documents are forgotten"`
	Reference  Reference              `yaml:"reference" doc:"the frozen model that tnt, npo and others compare with"`
	Optimizer  optim.Config           `yaml:"optimizer" doc:"how parameters are updated"`
	Schedule   optim.Schedule         `yaml:"schedule" doc:"learning rate over the run"`
	Adapter    model.Adapter          `yaml:"adapter" doc:"low-rank adapters on a trained model: a small part is trained, the rest stays as it is"`
	EMA        optim.EMAConfig        `yaml:"ema" doc:"exponential moving average of the weights"`
	Train      Training               `yaml:"train" doc:"length and conditions of the run"`
	Checkpoint Checkpointing          `yaml:"checkpoint" doc:"when state is saved and what is kept"`
	Log        Log                    `yaml:"log" doc:"what is written while training"`
	Eval       Evaluation             `yaml:"eval" doc:"evaluation on held-out documents"`
	StopAfter  int64                  `yaml:"stop_after" min:"0" doc:"commit and leave with exit code 75 after this step, as if preempted; 0: never"`
}

// Phase is one stretch of a run. Exactly one of Steps and Epochs is given.
type Phase struct {
	Objective string             `yaml:"objective" doc:"objective of the phase; antlm when it has a mix"`
	Mix       map[string]float64 `yaml:"mix,omitempty" min:"0" doc:"shares of clm, mlm and mntp in this phase, instead of antlm.mix"`
	Steps     int64              `yaml:"steps,omitempty" min:"0" doc:"length in steps"`
	Epochs    float64            `yaml:"epochs,omitempty" min:"0" doc:"length in passes over the training documents, as they fill steps"`
}

// Data is the run file's section on data.
type Data struct {
	Train         string `yaml:"train" doc:"folder made by 'palimpsest data build'"`
	Valid         Held   `yaml:"valid" doc:"share of the documents held out for evaluation, or a folder of its own"`
	TokensPerStep int    `yaml:"tokens_per_step" min:"1" max:"16777216" doc:"packed tokens N of a micro-batch"`
	Length        int    `yaml:"length" min:"0" doc:"longest segment in tokens; 0: the model's context"`
	Packing       string `yaml:"packing" enum:"auto,cut,whole" doc:"cut: one stream of tokens fills every step; whole: documents are kept; auto: cut for purely causal runs"`
	Long          string `yaml:"long" enum:"cut,split,error" doc:"what happens to documents over length under whole packing"`
	Shuffle       bool   `yaml:"shuffle" doc:"shuffle frames, and documents within a window of frames"`
	Window        int    `yaml:"window" min:"1" max:"65536" doc:"frames in a shuffle window"`
	Seed          uint64 `yaml:"seed" doc:"of the order and of the held-out choice"`
	LossPlane     bool   `yaml:"loss_plane" doc:"where the data set has the plane loss, learn only what it marks: the rest is context"`
	Threads       int    `yaml:"threads" min:"0" max:"64" doc:"background decoders; 0: two"`
}

// Held names the evaluation documents: a share of the training data set, or another data set's folder.
type Held struct {
	Share float64
	Dir   string
}

// UnmarshalScalar reads a share in [0,1) or a folder.
func (h *Held) UnmarshalScalar(s string) error {
	share, err := strconv.ParseFloat(s, 64)
	if err != nil {
		if s == "" {
			return fmt.Errorf("want a share of the documents such as 0.01, or a folder")
		}
		*h = Held{Dir: s}
		return nil
	}
	if !(share >= 0 && share < 1) {
		return fmt.Errorf("want a share in [0,1), not %s", s)
	}
	*h = Held{Share: share}
	return nil
}

// String is the inverse of UnmarshalScalar.
func (h Held) String() string {
	if h.Dir != "" {
		return h.Dir
	}
	return strconv.FormatFloat(h.Share, 'g', -1, 64)
}

// Training is the run file's section on the run.
type Training struct {
	Steps        int64    `yaml:"steps" min:"0" doc:"updates of the whole run; 0: 2000, or with phases their sum"`
	Accumulate   int      `yaml:"accumulate" min:"1" max:"65536" doc:"micro-batches of an update"`
	Dropout      float64  `yaml:"dropout" min:"0" max:"<1" doc:"of embedding, residual branches and attention probabilities"`
	Device       string   `yaml:"device" enum:"auto,cpu,cuda,ref32,refbf16" doc:"where it runs; ref32 is the slow oracle and refbf16 the naive bfloat16 computation, for tests"`
	Threads      int      `yaml:"threads" min:"0" max:"1024" doc:"CPU threads; 0: all"`
	Recompute    string   `yaml:"recompute" enum:"none,layer" doc:"layer: blocks keep their input only and are computed again in the backward pass, to the same bits: less memory, about a quarter more work"`
	Graph        string   `yaml:"graph" enum:"auto,off" doc:"auto: on a GPU the launches of a step that come again are one launch of a captured graph, whose arguments are changed from step to step; off: every launch by itself; to the same bits"`
	Seed         uint64   `yaml:"seed" doc:"of initial weights, masks and dropout"`
	Init         string   `yaml:"init" doc:"run folder or checkpoint whose weights the run begins with, and whose model section it takes unless it has one of its own; classification heads that it lacks begin anew"`
	MaxNonfinite int      `yaml:"max_nonfinite" min:"1" doc:"non-finite updates in a row (each is dropped) before the run ends with exit code 7"`
	AllowChange  []string `yaml:"allow_change,omitempty" doc:"keys that may differ from the checkpoint's when resuming"`
}

// Checkpointing is the run file's section on checkpoints.
type Checkpointing struct {
	Every int64 `yaml:"every" min:"0" doc:"steps between checkpoints; 0: only the last"`
	Keep  int   `yaml:"keep" min:"1" doc:"newest checkpoints that are kept, beside the best"`
}

// Log is the run file's section on the log.
type Log struct {
	Every      int64 `yaml:"every" min:"1" doc:"steps between log lines"`
	NormsEvery int64 `yaml:"norms_every" min:"0" doc:"steps between lines with the norms of gradients and weights by layer; 0: none"`
}

// Evaluation is the run file's section on evaluation.
type Evaluation struct {
	Every  int64  `yaml:"every" min:"0" doc:"steps between evaluations; phases that are no shorter are also evaluated at their ends; 0: only at the end of the run"`
	Tokens int64  `yaml:"tokens" min:"0" doc:"held-out tokens of an evaluation; 0: all"`
	Best   string `yaml:"best" enum:"loss,entity_f1" doc:"what the best checkpoint of a phase is chosen by: the least held-out loss, or the largest F1 of entities of tokens, in phases that tag (mslm with detection, tag)"`
	Others bool   `yaml:"others" doc:"in runs of several language-model objectives, also evaluate those that the present phase does not train, or mixes: what is forgotten shows"`
}

const defaultSteps = 2000

// Default is the configuration of an empty run file.
func Default() Config {
	return Config{
		Objective: "mlm",
		Repeat:    1,
		Model:     model.Config{Preset: "tiny"},
		Data: Data{Valid: Held{Share: 0.01}, TokensPerStep: 8192, Packing: "auto", Long: "cut", Shuffle: true,
			Window: 16, Seed: 1, LossPlane: true},
		Mask:       objectives.DefaultMask(),
		AntLM:      objectives.DefaultAntLM(),
		Classify:   objectives.DefaultClassify(),
		MSLM:       objectives.DefaultMSLM(),
		EXLM:       objectives.DefaultEXLM(),
		RMLM:       objectives.DefaultRMLM(),
		SHAD:       objectives.DefaultSHAD(),
		Loss:       objectives.DefaultLoss(),
		TNT:        objectives.DefaultTNT(),
		NPO:        objectives.DefaultNPO(),
		Reference:  DefaultReference(),
		Optimizer:  optim.Default(),
		Schedule:   optim.DefaultSchedule(),
		Adapter:    model.DefaultAdapter(),
		EMA:        optim.DefaultEMA(),
		Train:      Training{Accumulate: 1, Dropout: 0.1, Device: "auto", Recompute: "none", Graph: "auto", Seed: 1, MaxNonfinite: 5},
		Checkpoint: Checkpointing{Every: 200, Keep: 3},
		Log:        Log{Every: 10},
		Eval:       Evaluation{Every: 200, Tokens: 1 << 17, Best: "loss", Others: true},
	}
}

// Validate reports what no single key shows. Sizes of the model are checked by Resolve, which knows the tokenizer.
func (c *Config) Validate() (problems []runfile.Problem) {
	add := func(section string, errs []error) {
		for _, err := range errs {
			key, message, _ := strings.Cut(err.Error(), ": ")
			problems = append(problems, runfile.Problem{Key: section + key, Message: message})
		}
	}
	add("mask.", c.Mask.Validate())
	add("loss.", c.Loss.Validate())
	add("antlm.", c.AntLM.Validate())
	add("classify.", c.Classify.Validate())
	add("mslm.", c.MSLM.Validate())
	if slices.ContainsFunc(c.phaseList(), func(p Phase) bool { return p.Objective == "rft" }) && c.Loss.Reweigh.On() {
		problems = append(problems, runfile.Problemf("loss.reweigh.rule", "%s, but the objective rft has a rule of its own; hint: leave it out, shad.method chooses", c.Loss.Reweigh.Rule))
	}
	if !slices.ContainsFunc(c.phaseList(), func(p Phase) bool { return p.Objective != "tnt" }) {
		for _, k := range []struct {
			key string
			set bool
		}{{"smoothing", c.Loss.Smoothing != 0}, {"z_loss", c.Loss.ZLoss != 0}, {"focal", c.Loss.Focal != 0}, {"dft", c.Loss.DFT}} {
			if k.set {
				problems = append(problems, runfile.Problemf("loss."+k.key, "the objective tnt has losses of its own, which do not read it; hint: leave it out, tnt.variant chooses"))
			}
		}
	}
	add("adapter.", c.Adapter.Validate())
	if c.Adapter.On() && c.Train.Init == "" {
		problems = append(problems, runfile.Problemf("adapter.rank", "adapters are trained on a model, and train.init names none; hint: --set train.init=MODEL, a run or an imported model"))
	}
	add("reference.", c.Reference.Validate())
	add("optimizer.", c.Optimizer.Validate())
	add("schedule.", c.Schedule.Validate())
	transformer, errs := c.withLinks()
	add("", errs)
	if _, errs := transformer.Resolve(0); len(errs) > 0 {
		for _, err := range errs {
			if !strings.HasPrefix(err.Error(), "vocab: unknown") { // the tokenizer decides later
				add("model.", []error{err})
			}
		}
	}
	known := strings.Join(objectives.Names(), ", ")
	check := func(key, name string) {
		for _, n := range objectives.Names() {
			if n == name {
				return
			}
		}
		if name == "" {
			problems = append(problems, runfile.Problemf(key, "none is named; known: %s", known))
			return
		}
		problems = append(problems, runfile.Problemf(key, "there is no objective %q; known: %s", name, known))
	}
	if len(c.Phases) == 0 {
		check("objective", c.Objective)
	}
	for i, p := range c.Phases {
		key := fmt.Sprintf("phases.%d", i)
		check(key+".objective", p.name())
		if len(p.Mix) > 0 {
			if p.name() != "antlm" {
				problems = append(problems, runfile.Problemf(key+".mix", "%s mixes nothing; hint: objective: antlm", p.Objective))
			} else if err := objectives.ValidateMix(p.Mix); err != nil {
				problems = append(problems, runfile.Problemf(key+".mix", "%v", err))
			}
		}
		if (p.Steps > 0) == (p.Epochs > 0) || math.IsInf(p.Epochs, 0) {
			problems = append(problems, runfile.Problemf(key, "want either steps or epochs, above 0"))
		}
	}
	if c.Eval.Best == "entity_f1" && !c.trainsAny("tag") && !(c.trainsAny("mslm") && c.MSLM.DetectionWeight > 0) {
		problems = append(problems, runfile.Problemf("eval.best", "entity_f1, but nothing in this run tags entities; hint: objective mslm with mslm.detection_weight, or tag"))
	}
	if c.Repeat > 1 && len(c.Phases) == 0 {
		problems = append(problems, runfile.Problemf("repeat", "there are no phases to repeat; hint: data is read as often as train.steps asks for"))
	}
	if c.Data.Train == "" {
		problems = append(problems, runfile.Problemf("data.train", "no data set is named; hint: --data DIR, made by 'palimpsest data build'"))
	}
	return problems
}

// unused lists the sections that differ from their defaults although no phase reads them.
func (c *Config) unused() (sections []string) {
	masks, mixes, classes := false, false, false
	for _, p := range c.phaseList() {
		for _, part := range c.partsOf(p) {
			masks = masks || part == "mlm" || part == "mntp" || part == "exlm" || part == "rmlm"
		}
		mixes = mixes || p.name() == "antlm"
		classes = classes || classifies(p.Objective)
	}
	trains := func(name string) bool {
		return slices.ContainsFunc(c.phaseList(), func(p Phase) bool { return p.Objective == name })
	}
	if !masks && !reflect.DeepEqual(c.Mask, objectives.DefaultMask()) {
		sections = append(sections, "mask")
	}
	if !mixes && !reflect.DeepEqual(c.AntLM, objectives.DefaultAntLM()) {
		sections = append(sections, "antlm")
	}
	if !slices.ContainsFunc(c.phaseList(), func(p Phase) bool { return p.Objective == "mslm" }) && !reflect.DeepEqual(c.MSLM, objectives.DefaultMSLM()) {
		sections = append(sections, "mslm")
	}
	if !trains("tnt") && !reflect.DeepEqual(c.TNT, objectives.DefaultTNT()) {
		sections = append(sections, "tnt")
	}
	if !trains("npo") && !reflect.DeepEqual(c.NPO, objectives.DefaultNPO()) {
		sections = append(sections, "npo")
	}
	if !trains("exlm") && !reflect.DeepEqual(c.EXLM, objectives.DefaultEXLM()) {
		sections = append(sections, "exlm")
	}
	if !trains("rmlm") && !reflect.DeepEqual(c.RMLM, objectives.DefaultRMLM()) {
		sections = append(sections, "rmlm")
	}
	if !trains("rft") && !reflect.DeepEqual(c.SHAD, objectives.DefaultSHAD()) {
		sections = append(sections, "shad")
	}
	if !c.Adapter.On() && !reflect.DeepEqual(c.Adapter, model.DefaultAdapter()) {
		sections = append(sections, "adapter")
	}
	if !classes && !reflect.DeepEqual(c.Classify, objectives.DefaultClassify()) {
		sections = append(sections, "classify")
	}
	return sections
}

// unusedMask lists keys of the section mask that differ from their defaults in runs whose objectives read others of it only.
func (c *Config) unusedMask() (keys []string) {
	replaces, units := true, true // nothing reads them
	expands, repeats := c.trainsAny("exlm"), c.trainsAny("rmlm")
	for _, p := range c.phaseList() {
		for _, part := range c.partsOf(p) {
			replaces = replaces && part != "mlm" && part != "mntp"
			units = units && part != "mlm" && part != "mntp" && part != "exlm"
		}
	}
	m, d := c.Mask, objectives.DefaultMask()
	if (expands || repeats) && replaces && m.Replace != d.Replace && m.Replace != [3]float64{1, 0, 0} {
		keys = append(keys, "mask.replace")
	}
	if repeats && units {
		m.P, m.Schedule, m.Replace = d.P, d.Schedule, d.Replace
		if !reflect.DeepEqual(m, d) {
			keys = append(keys, "of the section mask all but p and schedule")
		}
	}
	return keys
}

// idle lists keys that differ from their defaults although others of the run file leave them without effect, each with the reason.
func (c *Config) idle() (notes []string) {
	m, d := c.Mask, objectives.DefaultMask()
	if m.Schedule.Kind == "constant" && m.Schedule.Final != d.Schedule.Final {
		notes = append(notes, "mask.schedule.final is not used: mask.schedule.kind is constant")
	}
	if m.Unit != "span" && m.Span != d.Span {
		notes = append(notes, "the section mask.span is not used: mask.unit is "+m.Unit)
	}
	if len(c.Phases) > 0 && c.Objective != Default().Objective {
		notes = append(notes, "objective is not used: the run has phases")
	}
	if len(c.Phases)*int(max(1, c.Repeat)) < 2 && c.Optimizer.Reset {
		notes = append(notes, "optimizer.reset is not used: the run has one phase")
	}
	if len(c.Phases)*int(max(1, c.Repeat)) < 2 && c.Schedule.Restart {
		notes = append(notes, "schedule.restart is not used: the run has one phase")
	}
	return notes
}

// packing resolves data.packing: auto.
func (c *Config) packing() string {
	if c.Data.Packing != "auto" {
		return c.Data.Packing
	}
	for _, p := range c.phaseList() {
		if p.Objective != "clm" {
			return "whole"
		}
	}
	return "cut"
}

// name is the objective of a phase.
func (p Phase) name() string {
	if p.Objective == "" && len(p.Mix) > 0 {
		return "antlm"
	}
	return p.Objective
}

// String is the phase as the comparison of runs shows it.
func (p Phase) String() string {
	s := fmt.Sprintf("%s steps %d epochs %g", p.name(), p.Steps, p.Epochs)
	if len(p.Mix) > 0 {
		s += fmt.Sprintf(" mix %v", p.Mix)
	}
	return s
}

// partsOf lists the objectives that a phase trains: those that it mixes, or its only one.
func (c *Config) partsOf(p Phase) []string {
	if p.name() != "antlm" {
		return []string{p.name()}
	}
	return c.mixOf(p).Parts()
}

// mixOf is what a phase of the objective antlm mixes.
func (c *Config) mixOf(p Phase) objectives.AntLM {
	a := c.AntLM
	if len(p.Mix) > 0 {
		a.Mix = p.Mix
	}
	return a
}

// phaseList is the list of phases, also for a run of one objective.
func (c *Config) phaseList() []Phase {
	if len(c.Phases) > 0 {
		return c.Phases
	}
	steps := c.Train.Steps
	if steps == 0 {
		steps = defaultSteps
	}
	return []Phase{{Objective: c.Objective, Steps: steps}}
}
