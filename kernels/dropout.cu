// dropout: y = x * mask / keep; its own gradient. A warp has a row, a lane eight columns of it at a time, which are one
// block of Philox. Bytes: 4 an element. Source of the mask: kernels.Drop. Oracle: dropout_ref.go.
#include "eight.cuh"
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(256) dropout_apply(bf16 *y, const bf16 *x, int n, int C, int vector, Dropout drop)
{
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return;
	long at = (long)row * C;
	for (int c = threadIdx.x; c < eights(C); c += 32) {
		int left = C - 8 * c;
		Eight e = load8(x + at + 8 * c, left, vector);
		if (drop.threshold) {
			uint4 words = drop_block(drop, c, row);
			UNROLL
			for (int i = 0; i < 8; i++)
				e.v[i] = drop_lane(words, i) >= drop.threshold ? e.v[i] * drop.scale : 0;
		}
		store8(y + at + 8 * c, e, left, vector);
	}
}
EMU_KERNEL(dropout_apply)
