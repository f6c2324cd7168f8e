package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	"palimpsest/engine/fault"
)

// A side of the comparison is a child process that answers requests, one JSON object a line: first a setup, then any
// number of steps; the end of its input ends it. Our own side (compare_ours.go) and baselines/train.py speak the same.
type request struct {
	Setup *setup `json:"setup,omitempty"`
	Steps int    `json:"steps,omitempty"`
}

// setup describes the model in plain numbers. Our side writes Weights and answers the batch; the others get both.
type setup struct {
	Case string `json:"case"` // for our side, which knows the rest from it

	Layers    int            `json:"layers"`
	Width     int            `json:"width"`
	Heads     int            `json:"heads"`
	FF        int            `json:"ff"`
	Vocab     int            `json:"vocab"`
	Context   int            `json:"context"`
	Types     int            `json:"types"`
	NormEps   float64        `json:"norm_eps"`
	GELUTanh  bool           `json:"gelu_tanh"`
	PostNorm  bool           `json:"post_norm"`
	Causal    bool           `json:"causal"`
	Length    int            `json:"length"`
	Optimizer setupOptimizer `json:"optimizer"`
	Device    string         `json:"device"`
	Threads   int            `json:"threads"`
	Precision string         `json:"precision"` // of products: float32 or bfloat16
	Variant   string         `json:"variant"`   // eager, sdpa, compile
	HeadRows  string         `json:"head_rows"` // loss: the head runs on rows that bear a loss; all: on all of them
	Weights   string         `json:"weights"`   // safetensors file of the initial parameters
	batch
}

type setupOptimizer struct {
	LearningRate float64    `json:"learning_rate"`
	Betas        [2]float64 `json:"betas"`
	Eps          float64    `json:"eps"`
	WeightDecay  float64    `json:"weight_decay"` // of matrices
	Clip         float64    `json:"clip"`
}

// batch is the one batch of a case: tokens as the network sees them, and the rows that bear a loss with their targets.
type batch struct {
	Tokens  []int32 `json:"tokens,omitempty"`
	Rows    []int32 `json:"rows,omitempty"`
	Targets []int32 `json:"targets,omitempty"`
}

type reply struct {
	Error   string `json:"error,omitempty"`
	Missing string `json:"missing,omitempty"` // what has to be installed

	Library     string    `json:"library,omitempty"` // to a setup
	Device      string    `json:"device,omitempty"`
	Products    string    `json:"products,omitempty"`
	Precision   string    `json:"precision,omitempty"`
	Parameters  int64     `json:"parameters,omitempty"`
	ProductRate float64   `json:"product_rate,omitempty"` // FLOP/s of a 1024-cubed product
	Losses      []float64 `json:"losses,omitempty"`       // to steps: before each update
	PeakMemory  int64     `json:"peak_memory,omitempty"`
	batch
}

// A child is a running side.
type child struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	problem tail // what it wrote to standard error
}

// start begins a side; its command has neither input nor output yet.
func start(name string, cmd *exec.Cmd) (*child, error) {
	c := &child{name: name, cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, json.NewDecoder(out)
	cmd.Stderr = &c.problem
	if err := cmd.Start(); err != nil {
		return nil, fault.Usage.Errorf("%s: %w; %s", name, err, pythonHint)
	}
	return c, nil
}

const pythonHint = "hint: --python FILE or the variable " + PythonVariable + " names a Python that has torch (python3 -m pip install torch)"

// PythonVariable names the interpreter of the PyTorch side.
const PythonVariable = "PALIMPSEST_PYTHON"

// ask sends a request and waits for its answer.
func (c *child) ask(q request) (r reply, err error) {
	if err := json.NewEncoder(c.in).Encode(q); err != nil {
		return r, c.died(err)
	}
	if err := c.out.Decode(&r); err != nil {
		return r, c.died(err)
	}
	switch {
	case r.Missing != "":
		return r, fault.Usage.Errorf("%s: %s; %s", c.name, r.Error, pythonHint)
	case r.Error != "":
		return r, fault.Device.Errorf("%s: %s", c.name, r.Error)
	}
	return r, nil
}

// died is the error of a side that no longer answers.
func (c *child) died(err error) error {
	c.cmd.Process.Kill()
	why := c.cmd.Wait()
	last := strings.TrimSpace(c.problem.String())
	if last != "" {
		last = "; its last words:\n" + last
	}
	return fault.Device.Errorf("%s does not answer (%v, %v)%s", c.name, err, why, last)
}

// close ends the side and waits for it.
func (c *child) close() error {
	c.in.Close()
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && errors.As(err, &exit) && exit.ExitCode() > 0 {
		return fmt.Errorf("%s: %w: %s", c.name, err, c.problem.String())
	}
	return nil
}

// tail keeps the last bytes that were written.
type tail struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept.Write(p)
	t.kept.Next(max(0, t.kept.Len()-tailBytes))
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept.String()
}
