package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

// weightSource is where the weights of a checkpoint come from: a file of tensors, or what several of them make.
type weightSource interface {
	Names() []string
	Info(name string) (checkpoint.TensorInfo, bool)
	ReadFloat32(name string, dst []float32) error
	ReadRange(name string, from int64, dst []float32) error
	Close() error
}

// storedWeights opens the weights that a checkpoint is opened for: the average, where the run kept one, of which adapters leave
// only what they train.
func storedWeights(c *checkpoint.Checkpoint, config Config) (weightSource, error) {
	file := modelFile
	if c.Has(averageFile) {
		file = averageFile
	}
	from, err := c.Tensors(file)
	if err != nil {
		return nil, err
	}
	if file == modelFile || !config.Adapter.On() {
		return from, nil
	}
	whole, err := c.Tensors(modelFile)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return &layered{from, whole}, nil
}

// mergedWeights is storedWeights for a model without adapters: each is added to the weight of its layer, W + s B A.
func mergedWeights(c *checkpoint.Checkpoint, config Config) (weightSource, error) {
	from, err := storedWeights(c, config)
	if err != nil || !config.Adapter.On() {
		return from, err
	}
	return &merged{weightSource: from, scale: config.Adapter.Scale()}, nil
}

// layered is all tensors of below, but those that above has.
type layered struct{ above, below *checkpoint.Safetensors }

func (l *layered) of(name string) *checkpoint.Safetensors {
	if _, ok := l.above.Info(name); ok {
		return l.above
	}
	return l.below
}

func (l *layered) Names() []string {
	names := append(l.above.Names(), l.below.Names()...)
	slices.Sort(names)
	return slices.Compact(names)
}

func (l *layered) Info(name string) (checkpoint.TensorInfo, bool) { return l.of(name).Info(name) }

func (l *layered) ReadFloat32(name string, dst []float32) error {
	return l.of(name).ReadFloat32(name, dst)
}

func (l *layered) ReadRange(name string, from int64, dst []float32) error {
	return l.of(name).ReadRange(name, from, dst)
}

func (l *layered) Close() error { return errors.Join(l.above.Close(), l.below.Close()) }

// merged hides adapters in the weights that they adapt. The adapter of the layer read last is in memory.
type merged struct {
	weightSource
	scale float64

	layer   string
	a, b    []float32 // [r,in], [r,out]
	in, out int
	sum     []float64 // of a piece of a row
}

func (m *merged) Names() []string { return slices.DeleteFunc(m.weightSource.Names(), model.IsAdapter) }

func (m *merged) Info(name string) (checkpoint.TensorInfo, bool) {
	if model.IsAdapter(name) {
		return checkpoint.TensorInfo{}, false
	}
	return m.weightSource.Info(name)
}

func (m *merged) ReadFloat32(name string, dst []float32) error {
	if err := m.weightSource.ReadFloat32(name, dst); err != nil {
		return err
	}
	return m.add(name, 0, dst)
}

func (m *merged) ReadRange(name string, from int64, dst []float32) error {
	if err := m.weightSource.ReadRange(name, from, dst); err != nil {
		return err
	}
	return m.add(name, from, dst)
}

// add adds the adapter's part to the elements of a weight from one of them on.
func (m *merged) add(name string, from int64, dst []float32) error {
	layer, ok := strings.CutSuffix(name, ".weight")
	if !ok {
		return nil
	}
	nameA, nameB := model.AdapterNames(layer)
	if _, ok := m.weightSource.Info(nameA); !ok {
		return nil
	}
	if layer != m.layer {
		var err error
		if m.a, m.in, err = m.matrix(nameA); err != nil {
			return err
		}
		if m.b, m.out, err = m.matrix(nameB); err != nil {
			return err
		}
		m.layer = layer
	}
	info, _ := m.weightSource.Info(name)
	rank := len(m.a) / m.in
	if !slices.Equal(info.Shape, []int{m.out, m.in}) || len(m.b) != rank*m.out {
		m.layer = ""
		return fault.Checkpoint.Errorf("tensor %s has shape %v, its adapter of rank %d wants [%d %d]", name, info.Shape, rank, m.out, m.in)
	}
	for len(dst) > 0 {
		row, column := int(from)/m.in, int(from)%m.in
		n := min(len(dst), m.in-column)
		m.sum = slices.Grow(m.sum[:0], n)[:n]
		clear(m.sum)
		for k := range rank {
			b := float64(m.b[k*m.out+row])
			for i, a := range m.a[k*m.in+column:][:n] {
				m.sum[i] += b * float64(a)
			}
		}
		for i, s := range m.sum {
			dst[i] = float32(float64(dst[i]) + m.scale*s)
		}
		from, dst = from+int64(n), dst[n:]
	}
	return nil
}

// matrix reads half of an adapter.
func (m *merged) matrix(name string) (values []float32, columns int, err error) {
	info, ok := m.weightSource.Info(name)
	if !ok || len(info.Shape) != 2 || info.Shape[1] < 1 {
		return nil, 0, fault.Checkpoint.Errorf("tensor %s is missing, or is no matrix", name)
	}
	values = make([]float32, info.Shape[0]*info.Shape[1])
	return values, info.Shape[1], m.weightSource.ReadFloat32(name, values)
}

// adapt gives the model the run's adapter and checks that it fits.
func (c *Config) adapt() error {
	c.Model.Adapter = model.Adapter{}
	if !c.Adapter.On() {
		return nil
	}
	c.Model.Adapter = c.Adapter
	var lines []string
	for _, p := range c.Model.CheckAdapter() {
		lines = append(lines, "adapter."+p.Error())
	}
	if len(lines) > 0 {
		return fault.Usage.Errorf("%s", strings.Join(lines, "\n"))
	}
	return nil
}

// adapterNote says what is trained.
func adapterNote(c model.Config) string {
	trained, all := model.NumTrained(c), model.NumParams(c)
	return fmt.Sprintf("adapters of rank %d, scaled by %.4g, on %s: %d of %d parameters are trained (%.2f %%)",
		c.Adapter.Rank, c.Adapter.Scale(), strings.Join(c.Adapter.Targets, ", "), trained, all, 100*float64(trained)/float64(all))
}
