//go:build !cgo

package kernels

import (
	"errors"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// openOpenBLAS always fails: opening a library takes cgo.
func openOpenBLAS([]string) (products, string, error) {
	return nil, "", errors.New("built without cgo, so OpenBLAS cannot be opened")
}

// outrun is asked only about a library that was opened.
func (leaves) outrun(string) bool { return false }

// builtinProducts is gonum's Sgemm, plain Go with assembly for its innermost loops on amd64.
func builtinProducts(_ leaves, why string) products { return goProducts{"gonum (" + why + ")"} }

type goProducts struct{ label string }

func (p goProducts) name() string { return p.label }

func (goProducts) multiply(_ *cpu, x product) {
	transpose := func(t bool) blas.Transpose {
		if t {
			return blas.Trans
		}
		return blas.NoTrans
	}
	beta := float32(0)
	if x.add {
		beta = 1
	}
	gonum.Implementation{}.Sgemm(transpose(x.transA), transpose(x.transB), x.m, x.n, x.k, 1, x.a, x.lda, x.b, x.ldb,
		beta, x.c, x.ldc)
}
