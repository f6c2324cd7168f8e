// Kernels for the tests of the emulation: three that are right, and one with each fault that it must find.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256) test_axpy(float *y, const float *x, float a, int n)
{
	int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
	if (i < n)
		y[i] = a * x[i] + y[i];
}
EMU_KERNEL(test_axpy)

// Softmax of rows under a mask, one block of 128 threads a row. Fully masked rows give zeros.
extern "C" __global__ void __launch_bounds__(128) test_softmax(float *y, const float *x, const uint8_t *mask, int columns)
{
	Smem shared;
	float *scratch = shared.take<float>(32);
	long row = (long)blockIdx.x * columns;
	float m = -INFINITY, z = 0;
	for (int c = (int)threadIdx.x; c < columns; c += 128)
		if (mask[row + c])
			m = fmax2(m, x[row + c]);
	m = bmax(m, scratch);
	for (int c = (int)threadIdx.x; c < columns; c += 128)
		if (mask[row + c])
			z += fexp(x[row + c] - m);
	z = bsum(z, scratch);
	for (int c = (int)threadIdx.x; c < columns; c += 128)
		y[row + c] = mask[row + c] ? fexp(x[row + c] - m) / z : 0;
}
EMU_KERNEL(test_softmax)

// c[M,N] = a[M,K] b[N,K]^T in bf16: tiles of 64x64 by 128 threads (2x2 warps of 32x32), K in steps of 64 through a double
// buffer of asynchronous copies. K is a multiple of 8. fault: 0 none, 1 does not wait for the copies, 2 leaves out the
// barrier before a buffer is used again.
constexpr int TILE = 64, ROW = TILE + 8; // 144 bytes: ldmatrix without bank conflicts

CUK void test_load(bf16 *to, const bf16 *from, int row0, int rows, int k0, int K)
{
	for (int i = (int)threadIdx.x; i < TILE * 8; i += 128) {
		int r = i >> 3, k = (i & 7) * 8;
		bool ok = row0 + r < rows && k0 + k < K;
		cp16(to + r * ROW + k, ok ? from + (long)(row0 + r) * K + k0 + k : from, ok);
	}
}

extern "C" __global__ void __launch_bounds__(128)
	test_product(float *c, const bf16 *a, const bf16 *b, int M, int N, int K, int fault)
{
	Smem shared;
	bf16 *as = shared.take<bf16>(2 * TILE * ROW), *bs = shared.take<bf16>(2 * TILE * ROW);
	int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, wm = (warp >> 1) * 32, wn = (warp & 1) * 32;
	int m0 = (int)blockIdx.y * TILE, n0 = (int)blockIdx.x * TILE, steps = ceildiv(K, TILE);
	float d[2][4][4] = {};
	test_load(as, a, m0, M, 0, K);
	test_load(bs, b, n0, N, 0, K);
	cpcommit();
	for (int j = 0; j < steps; j++) {
		const bf16 *sa = as + (j & 1) * TILE * ROW, *sb = bs + (j & 1) * TILE * ROW;
		if (j + 1 < steps) {
			test_load(as + (~j & 1) * TILE * ROW, a, m0, M, (j + 1) * TILE, K);
			test_load(bs + (~j & 1) * TILE * ROW, b, n0, N, (j + 1) * TILE, K);
		}
		cpcommit();
		if (fault != 1 || j + 1 == steps)
			cpwait<1>();
		__syncthreads();
		UNROLL for (int k = 0; k < TILE; k += 16)
		{
			uint32_t fa[2][4], fb[2][4];
			UNROLL for (int i = 0; i < 2; i++)
				ldm4(fa[i], sa + (wm + i * 16 + (lane & 15)) * ROW + k + (lane >> 4) * 8);
			UNROLL for (int i = 0; i < 2; i++)
				ldm4(fb[i], sb + (wn + i * 16 + (lane & 7) + (lane >> 4) * 8) * ROW + k + (lane >> 3 & 1) * 8);
			UNROLL for (int i = 0; i < 2; i++)
				UNROLL for (int n = 0; n < 4; n++) mma16816(d[i][n], fa[i], fb[n >> 1] + (n & 1) * 2);
		}
		if (fault != 2)
			__syncthreads();
	}
	cpwait<0>();
	UNROLL for (int i = 0; i < 2; i++)
		UNROLL for (int n = 0; n < 4; n++)
			UNROLL for (int e = 0; e < 4; e++)
			{
				int row = m0 + wm + i * 16 + (lane >> 2) + (e >> 1) * 8, column = n0 + wn + n * 8 + (lane & 3) * 2 + (e & 1);
				if (row < M && column < N)
					c[(long)row * N + column] = d[i][n][e];
			}
}
EMU_KERNEL(test_product)

// test_fault does what its number says, with 64 threads, 256 bytes of shared memory and p of 1024 bytes.
extern "C" __global__ void test_fault(float *p, int fault, long at)
{
	Smem shared;
	float *s = shared.take<float>(fault == 1 ? 65 : 64); // 1: more than the launch gave
	unsigned t = threadIdx.x;
	if (fault == 2 && t < 16) // a barrier that the others never reach
		__syncthreads();
	if (fault == 3 && t % 32 < 16) // lanes that never come
		p[t] = __shfl_xor_sync(FULL, p[t], 1);
	if (fault == 4) { // lanes of one warp in two places
		if (t & 1)
			__syncwarp();
		else
			p[t] = __shfl_xor_sync(FULL, p[t], 1);
	}
	if (fault == 5) { // threads at two barriers
		if (t < 32)
			__syncthreads();
		else
			__syncthreads();
	}
	if (fault == 6) // off by 4 bytes
		cp16(s + 4 * (t % 8) + 1, p, true);
	if (fault == 7) // never waited for
		cp4(s + t, p + t, true);
	if (fault == 8) { // behind the end of the shared memory
		s[t + 1] = 1;
		__syncthreads();
	}
	if (fault == 9 && t == 3) // where the host says
		p[at] = 1;
	if (fault == 10) // a lane outside the mask
		p[t] = __shfl_sync(1u << (t & 31), p[t], 31 - (int)(t & 31));
	if (fault == 11) { // ldmatrix off by 2 bytes
		uint32_t r[4];
		ldm4(r, (bf16 *)s + 1);
		p[t] = (float)r[0];
	}
	if (fault == 12) // reads what another thread of the warp wrote, without a barrier
	{
		s[t] = (float)t;
		p[t] = s[t ^ 1];
	}
	if (fault == 13) { // adds without an atomic
		for (int i = 0; i < 3; i++)
			p[0] += 1;
	}
}
EMU_KERNEL(test_fault)
