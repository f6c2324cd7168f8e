package hf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

// chunk is how many elements are on their way at a time.
const chunk = 1 << 16

// Tensors lists the model's parameters under our names in float32, to be written once. A chunk is in memory at a time, or a whole
// tensor where it has to be transposed. A number that is not finite is an error.
func (im *Import) Tensors() (list []checkpoint.Tensor) {
	for _, p := range im.places {
		write := func(w io.Writer) error {
			for _, piece := range p.pieces {
				if err := im.write(w, piece, p.transpose); err != nil {
					return err
				}
			}
			return nil
		}
		if im.fresh[p.param.Name] {
			write = func(w io.Writer) error {
				return writeFloats(w, model.Layout(im.Model).InitialValues(p.index, im.seed))
			}
		}
		list = append(list, checkpoint.Tensor{Name: p.param.Name, DType: checkpoint.F32, Shape: p.param.Shape, Data: write})
	}
	return list
}

// write converts one piece.
func (im *Import) write(w io.Writer, p piece, transpose bool) error {
	name := im.chosen[p.name]
	file, total := im.weights.where[name], im.weights.info(name).Len()
	if transpose {
		values := make([]float32, total)
		if err := file.ReadRange(name, 0, values); err != nil {
			return err
		}
		if err := finite(name, values, 0); err != nil {
			return err
		}
		return writeFloats(w, transposed(values, p.shape[0], p.shape[1]))
	}
	return inChunks(total, func(from int64, values []float32) error {
		if err := file.ReadRange(name, from, values); err != nil {
			return err
		}
		if err := finite(name, values, from); err != nil {
			return err
		}
		return writeFloats(w, values)
	})
}

// inChunks calls f with room for the elements [0, total), a chunk at a time.
func inChunks(total int64, f func(from int64, room []float32) error) error {
	room := make([]float32, min(total, chunk))
	for from := int64(0); from < total; from += int64(len(room)) {
		if err := f(from, room[:min(int64(len(room)), total-from)]); err != nil {
			return err
		}
	}
	return nil
}

// transposed returns an [in, out] matrix as [out, in]. It goes by tiles, so that both sides stay in the cache.
func transposed(values []float32, in, out int) []float32 {
	const tile = 32
	t := make([]float32, len(values))
	for i0 := 0; i0 < in; i0 += tile {
		for o0 := 0; o0 < out; o0 += tile {
			for i := i0; i < min(i0+tile, in); i++ {
				for o := o0; o < min(o0+tile, out); o++ {
					t[o*in+i] = values[i*out+o]
				}
			}
		}
	}
	return t
}

func writeFloats(w io.Writer, values []float32) error {
	var buf [4 * 4096]byte
	for len(values) > 0 {
		n := min(len(values), len(buf)/4)
		for i, v := range values[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
		}
		if _, err := w.Write(buf[:4*n]); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// finite refuses NaN and infinity, which would spread over every answer of the model.
func finite(name string, values []float32, from int64) error {
	for i, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fault.Data.Errorf("tensor %s: element %d is %v, not finite", name, from+int64(i), v)
		}
	}
	return nil
}

// overflow refuses numbers that a narrower type turns into infinity.
func overflow(name string, values []float32, from int64, d checkpoint.DType) error {
	largest := float64(math.MaxFloat32)
	switch d {
	case checkpoint.F16:
		largest = math.Nextafter(65520, 0)
	case checkpoint.BF16:
		largest = math.Nextafter(0x1.FFp127, 0) // halfway to the power of two that is infinite
	}
	for i, v := range values {
		if math.Abs(float64(v)) > largest {
			return fmt.Errorf("tensor %s: element %d is %g, which %s cannot hold", name, from+int64(i), v, d)
		}
	}
	return nil
}
