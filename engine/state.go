package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/kernels"
)

// Files of a checkpoint, beside the manifest.
const (
	modelFile     = "model.safetensors"
	averageFile   = "ema.safetensors" // of runs with a moving average of the weights: of those that are trained
	optimizerFile = "optimizer.safetensors"
	stateFile     = "state.json"
	productsFile  = "products.json" // of devices whose library chooses algorithms
	configFile    = "config.yaml"
)

const stateFormat = 1

// state is everything that a resumed run needs beside weights and moments. Nothing of it depends on where or how fast
// the run is, but for the device and the clock, which are there to be reported.
type state struct {
	Format    int          `json:"format"`
	Step      int64        `json:"step"`    // updates done, those that the guard dropped included
	Micro     int64        `json:"micro"`   // micro-batches done: the counter of dropout
	Updates   int64        `json:"updates"` // updates applied
	Tokens    int64        `json:"tokens"`
	Pieces    int64        `json:"pieces"` // documents, and pieces of longer ones, that were read
	Anew      int64        `json:"anew"`   // updates applied when the moments last began anew
	Cursor    shard.Cursor `json:"cursor"` // where the data goes on
	Skipped   int64        `json:"skipped"`
	Streak    int          `json:"streak"`    // updates dropped in a row
	Evaluated int64        `json:"evaluated"` // step of the last evaluation
	Best      *bestLoss    `json:"best,omitempty"`
	Noise     *noise       `json:"noise,omitempty"`
	Seconds   float64      `json:"seconds"`
	Resumes   int          `json:"resumes"`
	Data      string       `json:"data"`                // hash of the data set's index
	Tokenizer string       `json:"tokenizer"`           // hash
	Reference string       `json:"reference,omitempty"` // hash of the frozen model's weights
	Device    string       `json:"device"`
	Version   string       `json:"version"`
}

// bestLoss is the best held-out loss so far of the phase at hand, or by eval.best: entity_f1 the least -F1.
type bestLoss struct {
	Step  int64   `json:"step"`
	Phase int     `json:"phase"`
	Loss  float64 `json:"loss"`
}

// deviceLine describes what decides the bits of a result.
func deviceLine(b kernels.Backend) string {
	i := b.Info()
	return fmt.Sprintf("%s, %s, %d threads, products: %s", i.Name, i.Device, i.Threads, i.Products)
}

// contents lists the files of a checkpoint of the present state.
func (t *Trainer) contents() (checkpoint.Contents, error) {
	stateJSON, err := json.MarshalIndent(t.state, "", "  ")
	if err != nil {
		return nil, err
	}
	tokenizerJSON, err := t.job.tokenizer.JSON()
	if err != nil {
		return nil, err
	}
	contents := checkpoint.Contents{
		checkpoint.BytesFile(configFile, runfile.Marshal(t.job.config)),
		checkpoint.BytesFile(TokenizerFile, tokenizerJSON),
		checkpoint.BytesFile(stateFile, stateJSON),
	}
	if d, ok := t.b.(kernels.Device); ok {
		if choices := d.ProductChoices(); choices != nil {
			contents = append(contents, checkpoint.BytesFile(productsFile, choices))
		}
	}
	for _, f := range t.stored() {
		file, err := checkpoint.TensorFile(f.name, tensors(t.b, f.list), map[string]string{"step": fmt.Sprint(t.state.Step)})
		if err != nil {
			return nil, err
		}
		contents = append(contents, file)
	}
	return contents, nil
}

// A stored tensor is a buffer of a parameter's shape with its name in a checkpoint.
type stored struct {
	name  string
	param *model.Param
	buf   kernels.Buf
}

// A storedFile is one file of tensors.
type storedFile struct {
	name string
	list []stored
}

// stored lists the tensors of a checkpoint by file.
func (t *Trainer) stored() []storedFile {
	var moments []stored
	for _, m := range t.opt.State() {
		moments = append(moments, stored{m.Prefix + m.Param.Name, m.Param, m.Buf})
	}
	files := []storedFile{{modelFile, weightsIn(t.weights)}, {optimizerFile, moments}}
	if t.average != nil {
		average := slices.DeleteFunc(weightsIn(t.average.Weights), func(s stored) bool { return s.param.Frozen }) // those are in modelFile
		files = append(files, storedFile{averageFile, average})
	}
	return files
}

// weightsIn lists the parameters of a model.
func weightsIn(w *model.Weights) (list []stored) {
	for _, p := range w.Params {
		list = append(list, stored{p.Name, p, p.Master})
	}
	return list
}

// tensors are the contents of buffers for a checkpoint. One tensor at a time is on the host.
func tensors(b kernels.Backend, stored []stored) (list []checkpoint.Tensor) {
	const chunk = 1 << 18 // elements on the host at a time
	scratch, raw := make([]float32, chunk), make([]byte, 0, 4*chunk)
	for _, s := range stored {
		list = append(list, checkpoint.Tensor{Name: s.name, DType: checkpoint.F32, Shape: s.param.Shape, Data: func(out io.Writer) error {
			for from := 0; from < s.buf.Len(); from += chunk {
				part := scratch[:min(chunk, s.buf.Len()-from)]
				b.Download(part, s.buf.Slice(from, from+len(part)))
				if err := b.Sync(); err != nil {
					return err
				}
				if _, err := out.Write(littleEndian(raw[:0], part)); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return list
}

// restore fills buffers from a checkpoint's tensors, which must be exactly these.
func restore(b kernels.Backend, file weightSource, list []stored) error {
	unknown := map[string]bool{}
	for _, name := range file.Names() {
		unknown[name] = true
	}
	var values []float32 // as long as the largest tensor so far
	for _, s := range list {
		info, ok := file.Info(s.name)
		if !ok {
			return fault.Checkpoint.Errorf("tensor %s is missing", s.name)
		}
		if !slices.Equal(info.Shape, s.param.Shape) {
			return fault.Checkpoint.Errorf("tensor %s has shape %v, the model wants %v", s.name, info.Shape, s.param.Shape)
		}
		values = slices.Grow(values[:0], s.param.Len())[:s.param.Len()]
		if err := file.ReadFloat32(s.name, values); err != nil {
			return fault.Checkpoint.Wrap(err)
		}
		if s.name == s.param.Name { // weights; a moment may overflow in a run that goes on
			if err := finite(s.name, values); err != nil {
				return err
			}
		}
		b.Upload(s.buf, values)
		delete(unknown, s.name)
	}
	for name := range unknown {
		return fault.Checkpoint.Errorf("tensor %s does not belong to the model", name)
	}
	return b.Sync()
}

// load takes over a checkpoint. Keys of the configuration that change what the run computes must be as they were, unless
// train.allow_change names them.
func (t *Trainer) load(c *checkpoint.Checkpoint) error {
	if err := t.loadState(c); err != nil {
		return fault.Checkpoint.Wrap(fmt.Errorf("%s: %w", c.Dir(), err))
	}
	return nil
}

func (t *Trainer) loadState(c *checkpoint.Checkpoint) error {
	raw, err := c.Read(stateFile)
	if err != nil {
		return err
	}
	s := state{}
	if err := json.Unmarshal(raw, &s); err != nil {
		return fault.Checkpoint.Errorf("%s: %w", stateFile, err)
	}
	if s.Format != stateFormat {
		return fault.Checkpoint.Errorf("%s is of format %d, this program reads %d; hint: use the version that wrote it (%s)", stateFile, s.Format, stateFormat, s.Version)
	}
	if s.Step != c.Step() {
		return fault.Checkpoint.Errorf("%s is of step %d, the checkpoint of step %d; hint: take an earlier checkpoint", stateFile, s.Step, c.Step())
	}
	if err := t.compare(c, &s); err != nil {
		return err
	}
	for _, f := range t.stored() {
		tensors, err := c.Tensors(f.name)
		if err != nil {
			return err
		}
		err = restore(t.b, tensors, f.list)
		tensors.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	t.weights.Publish(t.b)
	if t.average != nil {
		t.average.Weights.Publish(t.b)
	}
	if device := deviceLine(t.b); device != s.Device {
		t.say("resuming on another device: was %s; is %s. Losses may differ in their last bits.", s.Device, device)
	} else if err := t.adoptProducts(c); err != nil {
		return err
	}
	resumes := s.Resumes + 1
	t.state, t.opt.Updates, t.opt.Anew = s, s.Updates, s.Anew
	t.state.Resumes, t.state.Device, t.state.Version = resumes, deviceLine(t.b), t.options.Version
	return nil
}

// adoptProducts makes the choices of a checkpoint's products again, so that the same device gives the same bits.
func (t *Trainer) adoptProducts(c *checkpoint.Checkpoint) error {
	d, ok := t.b.(kernels.Device)
	if !ok || !c.Has(productsFile) {
		return nil
	}
	choices, err := c.Read(productsFile)
	if err != nil {
		return err
	}
	if err := d.AdoptProducts(choices); err != nil {
		return fmt.Errorf("%s: %w", productsFile, err)
	}
	return nil
}

// free lists keys (or sections, with a trailing dot) that change nothing of what is computed.
var free = []string{"checkpoint.", "log.", "eval.", "stop_after", "train.device", "train.threads", "train.recompute", "train.graph", "train.max_nonfinite", "train.allow_change", "data.train", "data.threads", "reference.model", "reference.cache", "model.preset"}

func isFree(key string) bool {
	return slices.ContainsFunc(free, func(f string) bool { return key == f || strings.HasSuffix(f, ".") && strings.HasPrefix(key, f) })
}

// compare refuses a checkpoint of another run.
func (t *Trainer) compare(c *checkpoint.Checkpoint, s *state) error {
	raw, err := c.Read(configFile)
	if err != nil {
		return err
	}
	old := Default()
	if err := runfile.Decode(configFile, raw, &old); err != nil {
		return fault.Checkpoint.Errorf("%w", err)
	}
	var differences []string
	allowed := func(key string) bool { // by its name or that of its section
		return slices.ContainsFunc(t.job.config.Train.AllowChange, func(name string) bool { return key == name || strings.HasPrefix(key, name+".") })
	}
	differ := func(key, was, is string) {
		if was != is && !allowed(key) {
			differences = append(differences, fmt.Sprintf("  %s: was %s, is %s", key, cmp.Or(was, "not there"), cmp.Or(is, "not there")))
		}
	}
	was, is := flatten(old), flatten(t.job.config)
	for _, key := range union(was, is) {
		if !isFree(key) {
			differ(key, was[key], is[key])
		}
	}
	differ("data", s.Data, t.state.Data)
	differ("tokenizer", s.Tokenizer, t.state.Tokenizer)
	differ("reference", s.Reference, t.state.Reference)
	if len(differences) > 0 {
		return fault.Usage.Errorf("the checkpoint is of another run:\n%s\nhint: go back to those values, allow a change by name (train.allow_change: [KEY]), or start another run (--out)", strings.Join(differences, "\n"))
	}
	return nil
}

func flatten(c Config) map[string]string {
	m := map[string]string{}
	for _, k := range runfile.Describe(c) {
		m[k.Path] = k.Default
	}
	delete(m, "phases") // each by itself
	for i, p := range c.Phases {
		m[fmt.Sprintf("phases.%d", i)] = p.String()
	}
	return m
}

func union(a, b map[string]string) (keys []string) {
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
