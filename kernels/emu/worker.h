// One OS thread that runs blocks: its threads, fibers, queue, barrier, warps and shared memory. Known to the engine alone.
#pragma once
#include <pthread.h>

#include <atomic>
#include <memory>
#include <vector>

#include "fiber.h"
#include "launch.h"

namespace emu {

struct Warp;
struct Worker;

// Copy is a cp.async that its thread has not yet waited for.
struct Copy {
	void *to; // null: already done
	const void *from; // null: zeros
	unsigned bytes, group;
};

// Member is the engine's part of a thread.
struct Member : Thread {
	Worker *worker;
	Warp *warp;
	Fiber *fiber; // null until it starts
	bool done;
	unsigned group, phase, warp_phase; // cp.async groups committed; barriers passed
	std::vector<Copy> copies;
	const char *what, *file; // where it waits
	int line;
};

// Meeting is a warp collective under way: some lanes of mask have arrived.
struct Meeting {
	unsigned mask, arrived;
	const char *what, *file;
	int line;
};

struct Warp {
	Member *lane[32];
	void *argument[32];
	Meeting meeting[32];
	unsigned meetings;
	char ordered[2]; // what TSan orders __syncwarp by
};

struct Piece {
	char *at;
	size_t bytes;
};

struct Worker {
	Options options;
	const Kernel *kernel;
	void *const *arguments;
	Block block;
	unsigned threads, warps, shared, finished;
	uint64_t random;
	bool failed, running;
	Result result;

	Fiber home; // the stack of the OS thread
	pthread_t owner; // the OS thread of the last launch
	std::vector<std::unique_ptr<Fiber>> fibers;
	std::vector<Fiber *> idle;
	std::vector<Member> members;
	std::vector<Warp> warp;

	std::vector<Member *> ready; // a ring
	unsigned head, waiting_to_run;

	unsigned at_barrier;
	const char *barrier_file;
	int barrier_line;
	char ordered[2], begin, end; // what TSan orders barriers and the launch by

	char *arena; // shared memory
	size_t arena_used;
	std::vector<Piece> pieces;

	void start(const Kernel *k, dim3 grid, dim3 size, unsigned shared_bytes, void *const *a, const Options &o);
	void run_block(unsigned x, unsigned y, unsigned z, unsigned nth);
	void finish();
	void renew_fibers();

	void push(Member *m);
	Member *pop();
	Fiber *fiber_for(Member *m);
	void go(Fiber *from, Member *next);
	void wait(Member *m);
	void report_deadlock();
	unsigned below(unsigned n);
	void open_arena();
	void close_arena();
};

inline Member *self() { return static_cast<Member *>(current); }

inline unsigned Worker::below(unsigned n)
{
	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	return (unsigned)((uint64_t)(uint32_t)(random >> 24) * n >> 32);
}

inline void Worker::push(Member *m)
{
	unsigned capacity = threads;
	unsigned at = head + waiting_to_run++;
	ready[at >= capacity ? at - capacity : at] = m;
}

inline Member *Worker::pop()
{
	unsigned capacity = threads;
	if (options.order == Order::reversed) {
		unsigned at = head + --waiting_to_run;
		return ready[at >= capacity ? at - capacity : at];
	}
	Member *m = ready[head];
	if (options.order == Order::random) {
		unsigned at = head + below(waiting_to_run);
		at = at >= capacity ? at - capacity : at;
		Member *chosen = ready[at];
		ready[at] = m;
		m = chosen;
	}
	head = head + 1 == capacity ? 0 : head + 1;
	waiting_to_run--;
	return m;
}

[[noreturn]] void too_much_shared(size_t bytes, const char *file, int line);

// meet is a warp collective: every lane of mask leaves its argument, the last one to come runs act for all of them.
void meet(void (*act)(Warp &, unsigned mask), unsigned mask, void *argument, const char *what, const char *file, int line);

} // namespace emu
