package bench

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"palimpsest/engine/fault"
	"palimpsest/kernels"
)

// KernelOptions say what Kernels measures.
type KernelOptions struct {
	Device   string
	Threads  int
	Ops      []string      // beginnings of the ops' names; nil: all
	Scale    string        // of Scales; "": device on a GPU, host on a CPU, tiny on an oracle
	Quick    bool          // a third of the shapes, a fifth of the time
	Budget   time.Duration // of each figure; 0: 300 ms, or 60 ms when Quick
	Version  string
	Progress func(string) // told what is measured; may be nil
	Beside   []Beside     // figures of another program for the same shapes

	backend kernels.Backend // tests: in place of the device
}

// A Beside is another program's time for one op and shape.
type Beside struct {
	Op      string  `json:"op"`
	Shape   string  `json:"shape"`
	What    string  `json:"what"` // which program, and how
	Seconds float64 `json:"seconds"`
}

// KernelReport is all figures of one run, with what they were measured under.
type KernelReport struct {
	Conditions
	Backend    string         `json:"backend"`
	Compute    string         `json:"compute"`
	Notes      []string       `json:"notes"`
	Hardware   any            `json:"hardware,omitempty"`       // of a GPU
	Idle       *DeviceState   `json:"state_before,omitempty"`   // of a GPU: before anything ran,
	Busy       *DeviceState   `json:"state_busy,omitempty"`     // right after the products of the peak,
	Finished   *DeviceState   `json:"state_finished,omitempty"` // and at the end
	CacheBytes int            `json:"cache_bytes"`              // of the last level: what rotating buffers have to exceed
	Scale      string         `json:"scale"`
	Rules      []string       `json:"rules"`
	Peaks      Peaks          `json:"peaks"`       // measured first: what shares are of
	After      Peaks          `json:"peaks_after"` // measured again at the end: how steady the device was
	Results    []KernelResult `json:"results"`
}

// A KernelResult is one op at one shape. Without a right result there are no figures.
type KernelResult struct {
	Op        string  `json:"op"`
	Shape     string  `json:"shape"`
	Products  string  `json:"products,omitempty"` // of linear layers where there is a choice: who made them
	Correct   string  `json:"correct"`
	Reason    string  `json:"reason,omitempty"` // why it is incorrect or was not run
	Seconds   Spread  `json:"seconds"`
	FLOPs     float64 `json:"flops,omitempty"`
	Bytes     float64 `json:"bytes"`
	FLOPRate  float64 `json:"flops_per_s,omitempty"`
	ByteRate  float64 `json:"bytes_per_s"`
	OfPeak    float64 `json:"of_peak"`              // of the best product where there are FLOPs, else of memory
	OfLibrary float64 `json:"of_library,omitempty"` // of built-in products: the library's time over theirs
	Sets      int     `json:"buffer_sets"`
	SetBytes  int     `json:"set_bytes"`
	Cached    bool    `json:"cached"` // the sets together fit the last-level cache
	Calls     int     `json:"calls_a_sample"`
	How       string  `json:"how"` // graph, events or clock: see kernels.Time
	Beside    *Beside `json:"beside,omitempty"`
	OfBeside  float64 `json:"of_beside,omitempty"` // its time over ours: above 1, ours is faster
}

// rules are printed with every report.
var rules = []string{
	"FLOPs: products 2 x rows x in x out; attention 4 D a head and pair that attends (a causal segment: half of n^2 pairs), backward 2.5 times forward; relative attention also 4 D a token and bucket",
	"FLOPs of lattices: links 2 D a head and allowed link, backward 3 times forward; alignment with both gradients 9 a step of its program (addition, exponential, addition, three times): M S^2 / 2 steps of dag, 3 (2 M + 1) S of ctc",
	"bytes: every input once, every output once, what is added to twice; nothing for what a kernel reads again",
	"% of peak: of the best product where FLOPs are counted, else of the better of a copy and an addition, all measured in this run",
	"correct: a small shape of the same op against the float64 oracle by the compliance suite's rule, then no NaN in the outputs of the timed shape; what is incorrect is not timed",
	"time: median of samples after a warm-up, on random numbers, rotating among sets of buffers that together exceed the last-level cache (else marked *)",
}

// Kernels checks and times the ops of a backend. When the device fails it returns what was measured before, and the error.
func Kernels(o KernelOptions) (r KernelReport, err error) {
	b := o.backend
	if b == nil {
		if b, err = kernels.Open(o.Device, o.Threads); err != nil {
			return r, fault.Device.Wrap(err)
		}
		defer b.Close()
	}
	list, scaleName, err := o.list(b.Info().Name)
	if err != nil {
		return r, err
	}
	info := b.Info()
	r = KernelReport{Conditions: conditions(b, o.Version), Backend: info.Name, Compute: info.Compute.String(), Notes: info.Notes, Scale: scaleName, Rules: rules,
		Results: []KernelResult{}}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	r.CacheBytes, r.Hardware, r.Idle = deviceOf(b)
	if r.CacheBytes == 0 {
		r.CacheBytes = hostCache()
	}
	if r.Peaks, err = measurePeaks(b, scales[scaleName], o.samples()); err != nil {
		return r, fault.Device.Wrap(err)
	}
	_, _, r.Busy = deviceOf(b)
	t := newTiming(b, o, r, list)
	for i, k := range list {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf("%d of %d: %s, %s", i+1, len(list), k.op(), k.shape()))
		}
		found, err := t.measure(k)
		r.Results = append(r.Results, found...)
		if err != nil {
			return r, fault.Device.Errorf("%s of %s: %w", k.op(), k.shape(), err)
		}
	}
	_, _, r.Finished = deviceOf(b)
	if r.After, err = measurePeaks(b, scales[scaleName], o.samples()); err != nil {
		return r, fault.Device.Wrap(err)
	}
	return r, nil
}

// list returns the kernels that were asked for and the scale's name.
func (o KernelOptions) list(backend string) ([]kernel, string, error) {
	auto := map[string]string{"cuda": "device", "cpu": "host"}[backend]
	name := cmp.Or(o.Scale, auto, "tiny")
	s, ok := scales[name]
	if !ok {
		return nil, "", fault.Usage.Errorf("--scale: want %s, not %q", strings.Join(Scales(), ", "), name)
	}
	list, err := chosen(s.cases(o.Quick), o.Ops)
	return list, name, err
}

// A KernelCase names a kernel for other programs, with its sizes.
type KernelCase struct {
	Op    string `json:"op"`
	Shape string `json:"shape"`
	Sizes any    `json:"sizes"`
}

// KernelCases lists what Kernels would measure.
func KernelCases(o KernelOptions) (cases []KernelCase, err error) {
	list, _, err := o.list(o.Device)
	for _, k := range list {
		cases = append(cases, KernelCase{k.op(), k.shape(), k})
	}
	return cases, err
}

func (o KernelOptions) samples() int {
	if o.Quick {
		return 5
	}
	return 15
}

func (o KernelOptions) budget() float64 {
	if o.Budget > 0 {
		return o.Budget.Seconds()
	}
	if o.Quick {
		return 0.06
	}
	return 0.3
}

// hostCache is the last-level cache of the first processor in bytes, 32 MiB where the system does not tell.
func hostCache() int {
	most := 0
	files, _ := filepath.Glob("/sys/devices/system/cpu/cpu0/cache/index*/size")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		digits, unit := strings.TrimRight(strings.TrimSpace(string(text)), "KM"), 1<<10
		if strings.Contains(string(text), "M") {
			unit = 1 << 20
		}
		if n, err := strconv.Atoi(digits); err == nil {
			most = max(most, n*unit)
		}
	}
	return cmp.Or(most, 32<<20)
}

// timing is the state of a run.
type timing struct {
	options KernelOptions
	b       kernels.Backend
	report  KernelReport
	checker *checker
	sets    map[kernel]int
	yard    *yard
	library string // "": products are always built in
}

const (
	mostSets     = 24
	rotateDevice = 1 << 30 // bytes of all sets together, unless one takes more
	rotateHost   = 192 << 20
	largestSet   = 12 << 30
)

func newTiming(b kernels.Backend, o KernelOptions, r KernelReport, list []kernel) *timing {
	t := &timing{options: o, b: b, report: r, checker: newChecker(b), sets: map[kernel]int{}}
	rotate := rotateHost
	if r.Backend == "cuda" {
		rotate = rotateDevice
	}
	if r.Scale == "tiny" {
		rotate = 1 << 20
	}
	var needs []map[kernels.DType]int
	for _, k := range list {
		n := need(k, b.Info())
		one := bytesOf(n)
		if one > largestSet {
			continue
		}
		sets := max(1, min(mostSets, rotate/one, 1+2*r.CacheBytes/touched(k, b.Info(), one)))
		for dtype := range n {
			n[dtype] *= sets
		}
		t.sets[k], needs = sets, append(needs, n)
	}
	t.yard = newYard(b, needs)
	if c, ok := b.(kernels.ProductChooser); ok {
		t.library = c.Library(true)
	}
	return t
}

// touched is how many of a set's bytes a call reads or writes at all: a gather leaves most of them alone.
func touched(k kernel, info kernels.Info, held int) int {
	return min(held, int(k.bytes(sizesOf(info))))
}

// measure checks and times one kernel: a linear layer by the library and by built-in products where there are both.
func (t *timing) measure(k kernel) ([]KernelResult, error) {
	_, linear := k.(linearCase)
	if !linear || t.library == "" {
		r, err := t.once(k)
		return []KernelResult{r}, err
	}
	chooser := t.b.(kernels.ProductChooser)
	theirs, err := t.once(k)
	theirs.Products = t.library
	if err != nil {
		return []KernelResult{theirs}, err
	}
	chooser.Library(false)
	defer chooser.Library(true)
	ours, err := t.once(k)
	ours.Products = "built in"
	ours.Beside, ours.OfBeside = nil, 0
	if ours.Correct == Passed && theirs.Correct == Passed {
		ours.OfLibrary = theirs.Seconds.Median / ours.Seconds.Median
	}
	return []KernelResult{theirs, ours}, err
}

func (t *timing) once(k kernel) (r KernelResult, err error) {
	s := sizesOf(t.b.Info())
	r = KernelResult{Op: k.op(), Shape: k.shape(), Correct: NotRun, FLOPs: k.flops(), Bytes: k.bytes(s)}
	if r.Sets = t.sets[k]; r.Sets == 0 {
		r.Reason = fmt.Sprintf("it needs %d GiB", bytesOf(need(k, t.b.Info()))>>30)
		return r, nil
	}
	wrong, err := t.checker.check(k)
	if err != nil {
		r.Reason = err.Error()
		return r, err
	}
	if wrong != "" {
		r.Correct, r.Reason = Incorrect, wrong
		return r, nil
	}
	if err := t.time(k, &r); err != nil {
		r.Reason = err.Error()
		return r, err
	}
	if r.Correct != Passed {
		return r, nil
	}
	r.ByteRate = r.Bytes / r.Seconds.Median
	r.OfPeak = r.ByteRate / t.report.Peaks.Memory
	if r.FLOPs > 0 {
		r.FLOPRate = r.FLOPs / r.Seconds.Median
		r.OfPeak = r.FLOPRate / t.report.Peaks.Product
	}
	for _, other := range t.options.Beside {
		if other.Op == r.Op && other.Shape == r.Shape && (r.Beside == nil || other.Seconds < r.Beside.Seconds) {
			r.Beside, r.OfBeside = &other, other.Seconds/r.Seconds.Median
		}
	}
	return r, nil
}

// time fills in Seconds.
func (t *timing) time(k kernel, r *KernelResult) error {
	t.yard.clear()
	var calls []func()
	var outs []output
	var keeps []keep
	for range r.Sets {
		m := t.yard.maker()
		calls = append(calls, k.build(m, t.b))
		for _, f := range m.firsts {
			f()
		}
		outs, keeps = append(outs, m.outs...), append(keeps, m.keeps...)
	}
	r.SetBytes = bytesOf(need(k, t.b.Info()))
	r.Cached = r.Sets*touched(k, t.b.Info(), r.SetBytes) <= t.report.CacheBytes
	prepare := func() {
		for _, k := range keeps {
			t.b.Copy(k.buf, k.pristine)
		}
	}
	next := 0
	work := func(n int) func() {
		return func() {
			for range n {
				calls[next%len(calls)]()
				next++
			}
		}
	}
	seconds, _, err := kernels.Time(t.b, prepare, work(len(calls)), 1)
	if err != nil {
		return err
	}
	round := max(seconds[0], 1e-9) // of all sets
	budget := t.options.budget()
	rounds := 1
	if len(keeps) == 0 { // else every set serves once between two restorations
		rounds = max(1, min(64, int(budget/20/round)))
	}
	r.Calls = rounds * len(calls)
	samples := max(3, min(50, int(budget/(round*float64(rounds)))))
	if seconds, r.How, err = kernels.Time(t.b, prepare, work(r.Calls), samples); err != nil {
		return err
	}
	for i := range seconds {
		seconds[i] /= float64(r.Calls)
	}
	r.Seconds = spread(seconds)
	name, err := finite(t.b, outs)
	if err != nil {
		return err
	}
	if name != "" {
		r.Correct, r.Reason, r.Seconds = Incorrect, fmt.Sprintf("%s holds NaN or an infinity at the timed shape", name), Spread{}
		return nil
	}
	if math.IsNaN(r.Seconds.Median) || r.Seconds.Median <= 0 {
		r.Reason, r.Seconds = "the clock does not resolve it", Spread{}
		return nil
	}
	r.Correct = Passed
	return nil
}
