package engine

import (
	"errors"
	"fmt"
	"slices"

	"palimpsest/engine/model"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Preview is what a run would do, without doing it: the answer of `train --dry-run`.
type Preview struct {
	Config     string         `json:"config"` // resolved, YAML
	Device     string         `json:"device"`
	Parameters int64          `json:"parameters"`
	Trained    int64          `json:"trained_parameters"`
	Memory     PreviewMemory  `json:"memory"`
	Data       PreviewData    `json:"data"`
	Phases     []PreviewPhase `json:"phases"`
	Steps      int64          `json:"steps"`
	FLOPs      float64        `json:"flops_per_step"` // of the first update
	Batch      PreviewBatch   `json:"batch"`
	Later      []PreviewBatch `json:"later_batches,omitempty"` // of phases with other objectives, as if these began with the data
	Checkpoint int64          `json:"checkpoint_bytes"`
	Notes      []string       `json:"notes,omitempty"`
}

// PreviewMemory is the predicted memory in bytes.
type PreviewMemory struct {
	Weights     int64 `json:"weights"` // parameters; of those that are trained gradients and two moments
	Activations int64 `json:"activations"`
	Data        int64 `json:"data"` // decoded frames
	Program     int64 `json:"program"`
	Reference   int64 `json:"reference,omitempty"` // weights and activations of the frozen model
	// Device is of a backend with memory of its own, where weights and activations are.
	Device *PreviewDevice `json:"device,omitempty"`
}

// Total is what the process is predicted to hold of the host's memory.
func (m PreviewMemory) Total() int64 {
	if m.Device != nil {
		return m.Data + m.Program + m.Device.Host
	}
	return m.Weights + m.Activations + m.Data + m.Program + m.Reference
}

// PreviewDevice is the memory of a device in bytes.
type PreviewDevice struct {
	Need      int64 `json:"need"` // buffers and the scratch of the kernels
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
	Host      int64 `json:"host"` // pinned memory of the host, for copies
}

// PreviewData sums up the data sets.
type PreviewData struct {
	Documents  int64   `json:"documents"`
	Tokens     int64   `json:"tokens"`
	HeldOut    int64   `json:"held_out_documents"`
	TokensStep int     `json:"tokens_per_step"` // of an update, over all its micro-batches
	Epochs     float64 `json:"epochs"`          // that the run reads
	Packing    string  `json:"packing"`
}

// PreviewPhase is one phase, steps [From, To).
type PreviewPhase struct {
	Objective string `json:"objective"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// PreviewBatch is the first micro-batch of a phase.
type PreviewBatch struct {
	Phase    string           `json:"phase"`
	Step     int64            `json:"step"`
	Tokens   int              `json:"tokens"`
	Segments int              `json:"segments"`
	Rows     int              `json:"loss_rows"`
	Fill     float64          `json:"fill"` // share of the step's capacity that is used
	Terms    []PreviewTerm    `json:"terms"`
	Examples []PreviewSegment `json:"examples"`
}

// PreviewTerm is a term of the loss with the denominator of the whole update.
type PreviewTerm struct {
	Name string  `json:"name"`
	Rows int     `json:"rows"`
	Den  float64 `json:"den"`
}

// PreviewSegment is a decoded segment, token by token.
type PreviewSegment struct {
	Document int64          `json:"document"`
	Graph    string         `json:"graph,omitempty"` // of expanded states
	Mask     string         `json:"mask"`            // "causal" or "bidirectional"
	From     int            `json:"from"`            // rows before Tokens, of which nothing is asked
	Tokens   []PreviewToken `json:"tokens"`
}

// PreviewToken is one row: what the network sees, what stood there, and what the loss asks of it.
type PreviewToken struct {
	Input    string  `json:"input"`
	Original string  `json:"original,omitempty"` // where it differs
	Target   string  `json:"target,omitempty"`
	Weight   float64 `json:"weight,omitempty"` // of the row in its term
	Term     string  `json:"term,omitempty"`
	Class    string  `json:"class,omitempty"` // of the target, where the data set tells boilerplate from reasoning
	// Also are what further terms ask of the row.
	Also []PreviewAsk `json:"also,omitempty"`
}

// PreviewAsk is what a term asks of a row.
type PreviewAsk struct {
	Target string  `json:"target"`
	Weight float64 `json:"weight"`
	Term   string  `json:"term"`
}

// previewSegments and previewTokens bound what is decoded, previewContext what comes before the first token that is asked for where
// that lies further behind.
const previewSegments, previewTokens, previewContext = 3, 48, 8

// DryRun opens everything that a run needs and plans its first update.
func DryRun(o Options) (*Preview, error) {
	j, err := prepare(o.Config)
	if err != nil {
		return nil, err
	}
	defer j.close()
	b, err := openDevice(o.Config.Train.Device, o.Config.Train.Threads)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	c, info := j.config, b.Info()
	p := &Preview{Config: string(runfile.Marshal(c)), Device: deviceLine(b), Parameters: model.NumParams(c.Model), Trained: model.NumTrained(c.Model), Steps: j.total, Notes: append(j.notes, info.Notes...)}
	if c.Train.Init != "" {
		from, err := planInit(c.Train.Init, c.Model, j.tokenizer.Hash())
		if err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, from.note())
		from.tensors.Close()
		if err := errors.Join(j.checkClassModel(from.dir, from.hash), from.fits(c)); err != nil {
			return nil, err
		}
	}
	p.Memory.Data, p.Memory.Program = j.dataBytes(), ProgramBytes
	p.Memory.Weights, p.Memory.Activations = model.MemoryBytes(c.Model, j.capacity(), info.Compute, info.Master)
	p.Memory.Reference = j.referenceBytes(info.Compute, info.Master)
	if p.Memory.Device, err = j.deviceNeed(b); err != nil && p.Memory.Device == nil {
		return nil, err
	} else if err != nil {
		p.Notes = append(p.Notes, "this run would end with exit code 5: "+err.Error())
	}
	p.Checkpoint = p.Parameters*4 + p.Trained*8
	if c.EMA.Decay > 0 {
		p.Checkpoint += p.Trained * 4
		p.Memory.Weights += p.Trained * int64(info.Master.Size())
	}
	for _, s := range j.phases {
		p.Phases = append(p.Phases, PreviewPhase{s.objective, s.from, s.to})
	}
	p.Data = PreviewData{Documents: j.data.Documents(), Tokens: j.data.Tokens(), TokensStep: c.Data.TokensPerStep * c.Train.Accumulate, Packing: c.packing()}
	for _, s := range j.phases {
		p.Data.Epochs += float64(s.to-s.from) * float64(p.Data.TokensStep) * j.pass.fill / (j.trainTokens() * j.growth(s.objective))
	}
	if p.Data.HeldOut, err = j.heldOutDocuments(); err != nil {
		return nil, err
	}
	shown := []objectives.Objective{}
	for i, s := range j.phases {
		if slices.Contains(shown, j.objectives[i]) {
			continue
		}
		shown = append(shown, j.objectives[i])
		plans, err := j.firstUpdate(s.from)
		if err != nil {
			return nil, err
		}
		batch := j.previewBatch(plans[0])
		batch.Phase, batch.Step = s.objective, s.from
		if i > 0 {
			p.Later = append(p.Later, batch)
			continue
		}
		p.Batch = batch
		for _, plan := range plans {
			p.FLOPs += j.flops(plan)
		}
	}
	return p, nil
}

// firstUpdate plans the update of a step over the first documents.
func (j *job) firstUpdate(step int64) ([]*objectives.Plan, error) {
	f, err := j.feed(step, 0, shard.Cursor{})
	if err != nil {
		return nil, err
	}
	defer f.close()
	u := <-f.updates
	return u.plans, u.err
}

// target is what a row of a term asks for, as text.
func (j *job) target(t *objectives.Term, r int) string {
	if t.Head != objectives.HeadLM {
		return fmt.Sprintf("%s %d", t.Head, t.Targets[r])
	}
	return j.show(t.Targets[r])
}

// heldOutDocuments counts the documents of the evaluation.
func (j *job) heldOutDocuments() (n int64, err error) {
	if j.valid != j.data {
		return j.valid.Documents(), nil
	}
	if !j.hasValid() {
		return 0, nil
	}
	selected, err := j.data.Selector(j.config.Data.Seed, j.split(shard.Valid))
	if err != nil {
		return 0, err
	}
	for id := range j.data.Documents() {
		if selected == nil || selected(id) {
			n++
		}
	}
	return n, nil
}

func (j *job) previewBatch(p *objectives.Plan) PreviewBatch {
	batch := PreviewBatch{Tokens: len(p.Tokens), Segments: len(p.Segments), Rows: p.Rows(), Fill: float64(len(p.Tokens)) / float64(j.config.Data.TokensPerStep)}
	asks, classes := map[int32][]PreviewAsk{}, map[int32]string{}
	for i := range p.Terms {
		t := &p.Terms[i]
		batch.Terms = append(batch.Terms, PreviewTerm{t.Name, len(t.Rows), t.Den})
		if t.Kind == objectives.Alignment {
			j.latticeAsks(p, t, asks)
			continue
		}
		for r, row := range t.Rows {
			weight := 1.0
			if len(t.Weights) > 0 {
				weight = float64(t.Weights[r])
			}
			asks[row] = append(asks[row], PreviewAsk{j.target(t, r), weight, t.Name})
			if len(t.Watched) > 0 {
				classes[row] = map[byte]string{objectives.ClassBoilerplate: objectives.TermBoilerplate, objectives.ClassReasoning: objectives.TermReasoning}[t.Watched[r]]
			}
		}
	}
	for _, example := range shownSegments(p) {
		i, s := example.segment, p.Segments[example.segment]
		segment := PreviewSegment{Document: p.Documents[i], Mask: "bidirectional", Graph: graphOf(p, i)}
		if s.Mask == kernels.Causal {
			segment.Mask = "causal"
		}
		from := s.Start
		for row := s.Start; row < s.End; row++ {
			if len(asks[row]) > 0 && row >= example.row {
				if row >= s.Start+previewTokens {
					from = row - previewContext
				}
				break
			}
		}
		segment.From = int(from - s.Start)
		for row := from; row < min(s.End, from+previewTokens); row++ {
			token := PreviewToken{Input: j.show(p.Tokens[row])}
			if p.OriginalTokens[row] != p.Tokens[row] {
				token.Original = j.show(p.OriginalTokens[row])
			}
			token.Class = classes[row]
			if list := asks[row]; len(list) > 0 {
				token.Target, token.Weight, token.Term, token.Also = list[0].Target, list[0].Weight, list[0].Term, list[1:]
			}
			segment.Tokens = append(segment.Tokens, token)
		}
		batch.Examples = append(batch.Examples, segment)
	}
	return batch
}

// A shownSegment is one that is decoded, with a row that must be seen, or any one that asks for a token: -1.
type shownSegment struct {
	segment int
	row     int32
}

// shownSegments are the first segments of a plan; where no row of theirs is of some term, as that of TNT's few unwanted tokens, the
// last of them make room for the first that has one.
func shownSegments(p *objectives.Plan) (list []shownSegment) {
	for i := range min(previewSegments, len(p.Segments)) {
		list = append(list, shownSegment{i, -1})
	}
	free := len(list) - 1
	for i := range p.Terms {
		rows := p.Terms[i].Rows
		seen := slices.ContainsFunc(rows, func(row int32) bool {
			return slices.ContainsFunc(list, func(k shownSegment) bool {
				return p.Segments[k.segment].Start <= row && row < p.Segments[k.segment].End
			})
		})
		if len(rows) == 0 || seen || free < 1 {
			continue
		}
		list[free] = shownSegment{slices.IndexFunc(p.Segments, func(s kernels.Segment) bool { return rows[0] < s.End }), rows[0]}
		free--
	}
	return list
}

// show is a token as text; control characters are escaped.
func (j *job) show(id int32) string {
	return shown(j.tokenizer, id)
}
