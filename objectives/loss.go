package objectives

import (
	"fmt"

	"palimpsest/kernels"
)

// LossOptions are the run file's section on the loss of a row. Evaluations do without them: they report the plain negative
// log-likelihood.
type LossOptions struct {
	Smoothing float64 `yaml:"smoothing" min:"0" max:"<1" doc:"label smoothing: share of the target that is spread evenly over all classes"`
	ZLoss     float64 `yaml:"z_loss" min:"0" doc:"factor of the squared log-sum-exp of the logits, added to the loss"`
	Focal     float64 `yaml:"focal" min:"0" doc:"exponent of (1 - probability of the target) that weighs a row; 0: off"`
	DFT       bool    `yaml:"dft" doc:"weigh rows by the probability of their target, as a constant"`
	Reweigh   Reweigh `yaml:"reweigh" doc:"weights of rows from their losses"`
}

// Reweigh is the run file's section on weights that depend on losses; kernels.Reweigh has the formulas.
type Reweigh struct {
	Rule      string  `yaml:"rule" enum:"none,uniform,softmax,top,class,fixed,sigmoid" doc:"uniform: every segment weighs the same; softmax: rows of a larger loss weigh more; top: only the share of largest losses counts; class: softmax over the losses of the two classes of the class plane; fixed: alpha for class 1 and 1 - alpha for class 0; sigmoid: by the segment's loss"`
	Scope     string  `yaml:"scope" enum:"segment,batch" doc:"rows that are weighed against each other: those of a segment, or of a micro-batch"`
	Aggregate string  `yaml:"aggregate" enum:"mean,sum" doc:"whether losses of a scope are averaged or summed"`
	Tau       float64 `yaml:"tau" min:">0" doc:"temperature of softmax and class, in nats"`
	Share     float64 `yaml:"share" min:">0" max:"1" doc:"share of the rows that top keeps"`
	Alpha     float64 `yaml:"alpha" min:"0" max:"1" doc:"weight of class 1 under fixed"`
	Slope     float64 `yaml:"slope" doc:"of sigmoid: factor of the loss in it; below 0 segments of small loss weigh more"`
	Scale     float64 `yaml:"scale" doc:"of sigmoid: factor of the weight; below 0 the loss is driven up"`
	Detach    bool    `yaml:"detach" doc:"weights of softmax and class are constants; false: the gradient goes through them"`
}

// DefaultLoss is plain cross-entropy.
func DefaultLoss() LossOptions {
	return LossOptions{Reweigh: Reweigh{Rule: "none", Scope: "segment", Aggregate: "mean", Tau: 3, Share: 0.6, Alpha: 0.5, Slope: 1, Scale: 1, Detach: true}}
}

// Validate returns what is wrong, each message beginning with the key.
func (o LossOptions) Validate() (problems []error) {
	on := 0
	for _, set := range []bool{o.Smoothing != 0, o.Focal != 0, o.DFT} {
		if set {
			on++
		}
	}
	if on > 1 {
		problems = append(problems, fmt.Errorf("smoothing: at most one of smoothing, focal and dft can be on"))
	}
	if o.Reweigh.Rule == "sigmoid" && o.Reweigh.Slope == 0 {
		problems = append(problems, fmt.Errorf("reweigh.slope: want a number other than 0"))
	}
	return problems
}

var rules = map[string]kernels.Rule{"uniform": kernels.Uniform, "softmax": kernels.Softmax, "top": kernels.TopShare,
	"class": kernels.ByClass, "fixed": kernels.FixedClass, "sigmoid": kernels.Sigmoid}

// On reports whether row weights come from losses.
func (r Reweigh) On() bool { return rules[r.Rule] != 0 }

// classes reports whether the rule asks for the class of every row.
func (r Reweigh) classes() bool { return r.Rule == "class" || r.Rule == "fixed" }

// Op returns the kernel's rule, still without buffers.
func (r Reweigh) Op() kernels.Reweigh {
	return kernels.Reweigh{Rule: rules[r.Rule], Sum: r.Aggregate == "sum", Through: !r.Detach, Tau: r.Tau, Share: r.Share,
		Alpha: r.Alpha, Slope: r.Slope, Scale: r.Scale}
}

// planes lists the plane that the rule reads.
func (r Reweigh) planes() []string {
	if r.classes() {
		return []string{planeClass}
	}
	return nil
}

// ask appends a row with its target, and with its class where the rule wants one: that of the token at index i.
func (t *Term) ask(row int, target int32, doc Document, i int) {
	t.Rows, t.Targets = append(t.Rows, int32(row)), append(t.Targets, target)
	if classes := doc.Planes[planeClass]; t.Options.Reweigh.classes() && i < len(classes) {
		t.RowClasses = append(t.RowClasses, classes[i])
	}
}
