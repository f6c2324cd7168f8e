// embedding: the sum of token, position and type rows, and the deterministic sum of rows into the rows of a table, which is
// the gradient of embeddings and of gathered rows.
//
// Forward: a warp has a token. Bytes a token: 2C written, 2C or 4C read for each table.
// Backward, table[key[i]] += src[i] for n rows in the order of i, whatever repeats: no atomics.
//   1. embedding_rank counts for each i the j with key[j] < key[i], or equal and j < i, by comparing all with all: the
//      place of i in a stable sort. n*n comparisons, 0.3 G for 16k tokens, which is little next to one product of the step.
//   2. embedding_place writes order and sorted keys.
//   3. embedding_pieces: a block has PIECE places of that order and a run of equal keys inside it goes to the table; of the
//      runs that reach beyond the piece, the sums go to head (it began before) or tail (it goes on).
//   4. embedding_join: the block of the piece in which such a run begins adds up its tail and the heads that follow.
// Bytes: src once, the touched rows of the table twice, 8C a piece. Oracles: embedding_ref.go, rows_ref.go.
#include "eight.cuh"

namespace embedding {

enum { VECTOR = 1, TOKENS32 = 2, POSITIONS32 = 4, TYPES32 = 8 };
constexpr int TILE = 2048, PIECE = 32;

// add adds e to eight columns of the table, which is float32 or, rounded once, bfloat16.
template <class T> CUK void add(T *to, Eight e, int left, bool vector)
{
	Eight old = load8(to, left, vector);
	add8(old, e);
	store8(to, old, left, vector);
}

template <class T>
CUK void pieces(T *table, float *head, float *tail, const bf16 *src, const int *order, const int *sorted, int n, int C, int vector)
{
	int count = eights(C), first = blockIdx.x * PIECE, end = n - first < PIECE ? n : first + PIECE;
	int before = first > 0 ? sorted[first - 1] : -1, after = end < n ? sorted[end] : -1;
	for (int c = threadIdx.x; c < count; c += blockDim.x) {
		int left = C - 8 * c;
		long out = ((long)blockIdx.x * count + c) * 8;
		for (int at = first; at < end;) {
			int key = sorted[at];
			Eight sum = {};
			bool began = at == first && key == before;
			for (; at < end && sorted[at] == key; at++)
				add8(sum, load8(src + (long)order[at] * C + 8 * c, left, vector));
			if (began)
				store8(head + out, sum, 8, true);
			else if (at == end && key == after)
				store8(tail + out, sum, 8, true);
			else
				add(table + (long)key * C + 8 * c, sum, left, vector);
		}
	}
}

template <class T> CUK void join(T *table, const float *head, const float *tail, const int *sorted, int n, int C, int vector)
{
	int count = eights(C), first = blockIdx.x * PIECE, end = first + PIECE;
	if (end >= n)
		return;
	int key = sorted[end - 1];
	if (sorted[end] != key || (first > 0 && sorted[first - 1] == key))
		return; // no run goes on from here, or it began in an earlier piece
	for (int c = threadIdx.x; c < count; c += blockDim.x) {
		Eight sum = load8(tail + ((long)blockIdx.x * count + c) * 8, 8, true);
		for (int piece = blockIdx.x + 1;; piece++) {
			add8(sum, load8(head + ((long)piece * count + c) * 8, 8, true));
			int last = piece * PIECE + PIECE;
			if (last >= n || sorted[last - 1] != key || sorted[last] != key)
				break;
		}
		add(table + (long)key * C + 8 * c, sum, C - 8 * c, vector);
	}
}

} // namespace embedding

extern "C" __global__ void __launch_bounds__(256) embedding_forward(bf16 *out, const int *ids, const int *pos, const void *tokens,
	const void *positions, const void *types, int n, int C, int flags)
{
	using namespace embedding;
	int row = blockIdx.x * blockDim.y + threadIdx.y;
	if (row >= n)
		return;
	bool vector = flags & VECTOR;
	long token = (long)ids[row] * C, position = positions ? (long)pos[2 * row] * C : 0;
	for (int c = threadIdx.x; c < eights(C); c += 32) {
		int left = C - 8 * c;
		Eight e = load8(tokens, token + 8 * c, flags & TOKENS32, left, vector);
		if (positions)
			add8(e, load8(positions, position + 8 * c, flags & POSITIONS32, left, vector));
		if (types)
			add8(e, load8(types, 8 * c, flags & TYPES32, left, vector));
		store8(out + (long)row * C + 8 * c, e, left, vector);
	}
}
EMU_KERNEL(embedding_forward)

// ranks[tile][i] gets the count of tile blockIdx.y of the keys, which lie stride apart.
extern "C" __global__ void __launch_bounds__(256) embedding_rank(int *ranks, const int *keys, int stride, int n)
{
	using namespace embedding;
	Smem sm;
	int *tile = sm.take<int>(TILE);
	int i = blockIdx.x * 256 + threadIdx.x, first = blockIdx.y * TILE, size = n - first < TILE ? n - first : TILE;
	for (int j = threadIdx.x; j < size; j += 256)
		tile[j] = keys[(long)(first + j) * stride];
	__syncthreads();
	if (i >= n)
		return;
	int key = keys[(long)i * stride], rank = 0;
	int earlier = i - first < 0 ? 0 : i - first < size ? i - first : size; // j < i
	for (int j = 0; j < earlier; j++)
		rank += tile[j] <= key;
	for (int j = earlier; j < size; j++)
		rank += tile[j] < key;
	ranks[(long)blockIdx.y * n + i] = rank;
}
EMU_KERNEL(embedding_rank)

extern "C" __global__ void __launch_bounds__(256)
	embedding_place(int *order, int *sorted, const int *ranks, const int *keys, int stride, int n, int tiles)
{
	int i = blockIdx.x * 256 + threadIdx.x;
	if (i >= n)
		return;
	int rank = 0;
	for (int t = 0; t < tiles; t++)
		rank += ranks[(long)t * n + i];
	order[rank] = i;
	sorted[rank] = keys[(long)i * stride];
}
EMU_KERNEL(embedding_place)

#define PIECES(T, name)                                                                                                    \
	extern "C" __global__ void __launch_bounds__(256) name(T *table, float *head, float *tail, const bf16 *src,            \
		const int *order, const int *sorted, int n, int C, int vector)                                                     \
	{                                                                                                                      \
		embedding::pieces(table, head, tail, src, order, sorted, n, C, vector);                                            \
	}                                                                                                                      \
	EMU_KERNEL(name)
#define JOIN(T, name)                                                                                                      \
	extern "C" __global__ void __launch_bounds__(256)                                                                      \
		name(T *table, const float *head, const float *tail, const int *sorted, int n, int C, int vector)                  \
	{                                                                                                                      \
		embedding::join(table, head, tail, sorted, n, C, vector);                                                          \
	}                                                                                                                      \
	EMU_KERNEL(name)

PIECES(float, embedding_pieces)
PIECES(bf16, embedding_pieces_brain)
JOIN(float, embedding_join)
JOIN(bf16, embedding_join_brain)
