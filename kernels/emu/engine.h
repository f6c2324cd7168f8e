// The engine runs one launch of a kernel on the CPU, every CUDA thread as a fiber that runs until it meets a barrier or a
// warp collective. What a kernel's host code calls stands here; how a launch is made, in launch.h.
#pragma once
#include <stddef.h>
#include <stdint.h>

// The place of a call in a kernel, for messages: the last parameters of whatever can wait or fail.
#define EMU_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

struct uint3 { unsigned x, y, z; };
struct dim3 {
	unsigned x, y, z;
	dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emu {

// Block is what the threads of a block see of it.
struct Block {
	uint3 index;
	dim3 threads, grid;
};

// Thread is what a CUDA thread sees of itself; the engine's own part of it is in thread.h.
struct Thread {
	uint3 thread;
	unsigned lane;
	const Block *block;
};

// The thread that runs now on this OS thread.
extern __thread Thread *current __attribute__((tls_model("initial-exec")));

// fail ends the launch with a message that names block and thread; it does not return.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void barrier(const char *file, int line);
void syncwarp(unsigned mask, const char *file, int line);
uint64_t shuffle(unsigned mask, uint64_t value, unsigned from, const char *what, const char *file, int line);
unsigned ballot(unsigned mask, bool predicate, const char *file, int line);

// mma computes d += a b of m16n8k16 with exact products, summed in double and rounded once.
void mma(float *d, const uint32_t *a, const uint32_t *b, const char *file, int line);
void ldmatrix(uint32_t *out, const void *row, int matrices, bool transposed, const char *file, int line);

// take returns the n-th piece of the block's shared memory, NaN at first, with poison behind it.
void *take(unsigned n, size_t bytes, size_t offset, const char *file, int line);

void copy_async(void *shared, const void *global, unsigned bytes, bool ok, const char *file, int line);
void copy_commit();
void copy_wait(unsigned groups); // until at most so many groups are under way

[[noreturn]] void misaligned(const void *p, unsigned bytes, const char *what, const char *file, int line);
inline const void *aligned(const void *p, unsigned bytes, const char *what, const char *file, int line)
{
	if ((uintptr_t)p % bytes)
		misaligned(p, bytes, what, file, line);
	return p;
}
inline void *aligned(void *p, unsigned bytes, const char *what, const char *file, int line)
{
	return const_cast<void *>(aligned(static_cast<const void *>(p), bytes, what, file, line));
}

} // namespace emu
