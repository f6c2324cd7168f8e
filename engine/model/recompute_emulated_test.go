//go:build cuda && emulated

package model

import (
	"testing"

	"palimpsest/kernels"
)

func TestRecomputedBlocksEmulated(t *testing.T) {
	sameRecomputed(t, func() kernels.Backend {
		b, err := kernels.Open("cuda", 0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
