// rows: out[r] = x[rows[r]]. A warp has a row. Bytes: 4 an element. The sum into repeated rows, its gradient, is
// embedding.cu's. Oracle: rows_ref.go.
#include "eight.cuh"

extern "C" __global__ void __launch_bounds__(256) rows_gather(bf16 *out, const bf16 *x, const int *rows, int n, int C, int vector)
{
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return;
	const bf16 *from = x + (long)rows[row] * C;
	bf16 *to = out + (long)row * C;
	for (int c = threadIdx.x; c < eights(C); c += 32) {
		if (vector)
			st16(to + 8 * c, ld16(from + 8 * c));
		else
			for (int i = 8 * c; i < 8 * c + 8 && i < C; i++)
				to[i] = from[i];
	}
}
EMU_KERNEL(rows_gather)
