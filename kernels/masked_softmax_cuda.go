//go:build cuda

package kernels

func (g *gpu) MaskedSoftmax(p, lse, scores, mask Buf, R, C int) {
	checkMaskedSoftmax(p, lse, scores, mask, R, C)
	if R == 0 {
		return
	}
	flags := vector(C, p, scores)
	if C%8 == 0 && mask.addr%8 == 0 {
		flags |= 2
	}
	a := g.arguments()
	pointers(a, p, lse, scores, mask)
	dims(a, R, C)
	a.I32(flags)
	g.launchRows("masked_softmax_forward", "masked_softmax_forward_wide", R, C, 4)
}

func (g *gpu) MaskedSoftmaxBackward(dscores, dp, p Buf, R, C int) {
	checkMaskedSoftmaxBackward(dscores, dp, p, R, C)
	if R == 0 {
		return
	}
	a := g.arguments()
	pointers(a, dscores, dp, p)
	dims(a, R, C)
	a.I32(vector(C, dscores, dp, p))
	g.launchRows("masked_softmax_backward", "masked_softmax_backward_wide", R, C, 2)
}

// launchRows launches a kernel that gives a row of C elements to a warp or a block whose threads hold up to `hold` eights,
// or its variant for rows that are wider than a block can hold.
func (g *gpu) launchRows(name, wideName string, rows, C, hold int) {
	threads, wide := rowThreads(C, hold, 1024)
	grid, block := line(rows), line(threads)
	if threads == 32 {
		grid, block.Y = line(ceilDiv(rows, 4)), 4
	}
	if wide {
		name = wideName
	}
	g.launch(name, grid, block, 128)
}
