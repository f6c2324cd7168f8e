// What a block shares: the pieces of its shared memory. What threads copy into them asynchronously, and ldmatrix.
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "worker.h"

namespace emu {

// The arena holds the pieces 1024 bytes apart or more, with a gap behind each that nobody may write.
constexpr size_t GAP = 64, ALIGN = 1024, MAX_PIECES = 32;
constexpr size_t ARENA = MAX_SHARED + MAX_PIECES * (GAP + ALIGN);
constexpr unsigned char GAP_BYTE = 0xa5;

static char *map_arena()
{
	void *p = mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		fail("no memory for shared memory");
	return (char *)p;
}

void Worker::open_arena()
{
	pieces.clear();
	arena_used = 0;
	if (!shared)
		return;
#if defined(EMU_TSAN) // of its own for each block, because blocks are not ordered; all NaN before any thread starts
	arena = map_arena();
	memset(arena, 0xff, shared + (shared / ALIGN + MAX_PIECES) * GAP);
#else
	if (!arena)
		arena = map_arena();
#endif
	EMU_POISON(arena, ARENA);
}

void Worker::close_arena()
{
#if defined(EMU_TSAN)
	if (arena)
		munmap(arena, ARENA);
	arena = nullptr;
#elif !defined(EMU_ASAN)
	for (size_t n = 0; n < pieces.size() && !failed; n++)
		for (size_t i = 0; i < GAP; i++)
			if ((unsigned char)pieces[n].at[pieces[n].bytes + i] != GAP_BYTE) {
				failed = true;
				result.fault = Fault::shared_memory;
				snprintf(result.message, sizeof result.message,
					"%s block (%u,%u,%u): a thread wrote behind piece %zu of the shared memory (%zu bytes)", kernel->name,
					block.index.x, block.index.y, block.index.z, n, pieces[n].bytes);
				break;
			}
#else
	if (arena)
		EMU_UNPOISON(arena, ARENA);
#endif
}

void *take(unsigned n, size_t bytes, size_t offset, const char *file, int line)
{
	Worker &w = *self()->worker;
	if (offset + bytes > w.shared)
		too_much_shared(offset + bytes, file, line);
	if (n > w.pieces.size() || n >= MAX_PIECES)
		fail("%s:%d: Smem::take number %u is out of order", file, line, n);
	if (n < w.pieces.size()) {
		if (w.pieces[n].bytes != bytes)
			fail("%s:%d: Smem::take number %u has %zu bytes here and %zu in another thread", file, line, n, bytes,
				w.pieces[n].bytes);
		return w.pieces[n].at;
	}
	char *p = w.arena + w.arena_used;
	w.arena_used += (bytes + GAP + ALIGN - 1) / ALIGN * ALIGN;
	EMU_UNPOISON(p, bytes);
#if !defined(EMU_TSAN)
	memset(p, 0xff, bytes); // NaN
#endif
#if !defined(EMU_TSAN) && !defined(EMU_ASAN)
	memset(p + bytes, GAP_BYTE, GAP);
#endif
	w.pieces.push_back({p, bytes});
	return p;
}

// --- cp.async

void copy_async(void *shared, const void *global, unsigned bytes, bool ok, const char *file, int line)
{
	Member *m = self();
	Worker &w = *m->worker;
	aligned(shared, bytes, "cp.async into shared memory", file, line);
	if (ok)
		aligned(global, bytes, "cp.async from global memory", file, line);
	bool late = w.options.copies == Copies::lazy || (w.options.copies == Copies::random && w.below(2));
	if (late)
		fill_words(shared, bytes, 0xffffffffu); // NaN
	else
		copy_words(shared, ok ? global : nullptr, bytes);
	m->copies.push_back({late ? shared : nullptr, ok ? global : nullptr, bytes, m->group});
}

void copy_commit() { self()->group++; }

void copy_wait(unsigned groups)
{
	Member *m = self();
	size_t left = 0;
	for (Copy &c : m->copies) {
		if (c.group + groups >= m->group)
			m->copies[left++] = c;
		else if (c.to)
			copy_words(c.to, c.from, c.bytes);
	}
	m->copies.resize(left);
}

// --- ldmatrix: lane 8i+r loads row r of matrix i, then the rows are dealt out

struct Rows {
	alignas(16) uint16_t row[8];
	uint32_t *out;
	int matrices;
	bool transposed;
};

static void deal(Warp &w, unsigned)
{
	const Rows *rows[32];
	for (int l = 0; l < 32; l++)
		rows[l] = (const Rows *)w.argument[l];
	for (int l = 0; l < 32; l++)
		for (int i = 0; i < rows[l]->matrices; i++) {
			int g = l >> 2, t = 2 * (l & 3);
			uint32_t low = rows[l]->transposed ? rows[8 * i + t]->row[g] : rows[8 * i + g]->row[t];
			uint32_t high = rows[l]->transposed ? rows[8 * i + t + 1]->row[g] : rows[8 * i + g]->row[t + 1];
			rows[l]->out[i] = low | high << 16;
		}
}

void ldmatrix(uint32_t *out, const void *row, int matrices, bool transposed, const char *file, int line)
{
	Rows r;
	r.out = out;
	r.matrices = matrices;
	r.transposed = transposed;
	if (self()->lane < 8u * (unsigned)matrices)
		copy_words(r.row, aligned(row, 16, "ldmatrix", file, line), sizeof r.row);
	meet(deal, 0xffffffffu, &r, transposed ? "ldmatrix.trans" : "ldmatrix", file, line);
}

} // namespace emu
