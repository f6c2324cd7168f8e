//go:build cgo

package kernels

/*
#include "reference_kl.h"
#cgo noescape reference_kl
#cgo nocallback reference_kl
*/
import "C"

func (l leaves) referenceKL(a *ReferenceKL, lo, hi int) {
	o := C.pull_options{scale: C.double(a.GradScale), eps: C.double(a.Eps), floor: C.double(a.leastLog()), unwanted: C.int(a.Unwanted),
		kept: C.int(a.Kept), per_entry: flag(a.perEntry()), clip: flag(a.ClipUnlikelihood), floor_kept: flag(a.FloorKept), grad: flag(a.Grad)}
	C.reference_kl(l.level, ptr(f32(a.Logits)), ptr(f32(a.Reference)), ptrInt(View[int32](a.Targets)), ptr(f32(a.Weights)), ptr(f32(a.NLL)),
		ptr(f32(a.Loss)), ptr(f32(a.KL)), C.int(lo), C.int(hi), C.int(a.V), &o)
}
