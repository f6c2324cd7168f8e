// Threads as fibers: starting, waiting, barriers, warp collectives. A fiber whose thread has ended begins the next one by
// itself, so that a kernel without barriers runs as plain calls on a single stack; a switch is made only where a thread
// must wait, and then directly to the next one.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

namespace emu {

__thread Thread *current __attribute__((tls_model("initial-exec")));
#if defined(EMU_ASAN)
__thread Fiber *came_from;
#endif
static __thread Worker *here; // this OS thread's
Kernel *kernels;

Kernel *find(const char *name)
{
	for (Kernel *k = kernels; k; k = k->next)
		if (!strcmp(k->name, name))
			return k;
	return nullptr;
}

bool in_kernel() { return here && here->running; }

// --- failing: the first message stays, and the fiber is left for good

static void record(Worker *w, Fault fault, const char *format, va_list list)
{
	if (w->failed)
		return;
	w->failed = true;
	w->result.fault = fault;
	uint3 b = w->block.index, t = current->thread;
	int n = snprintf(w->result.message, sizeof w->result.message, "%s block (%u,%u,%u) thread (%u,%u,%u): ",
		w->kernel->name, b.x, b.y, b.z, t.x, t.y, t.z);
	vsnprintf(w->result.message + n, sizeof w->result.message - (size_t)n, format, list);
}

[[noreturn]] static void leave(Worker *w)
{
	Fiber *from = self()->fiber;
	w->running = false;
	swap(from, &w->home);
	abort(); // nobody comes back to a thread that failed
}

[[noreturn]] static void fail_as(Fault fault, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail_as(Fault fault, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	record(self()->worker, fault, format, list);
	va_end(list);
	leave(self()->worker);
}

void fail(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	record(self()->worker, Fault::other, format, list);
	va_end(list);
	leave(self()->worker);
}

void misaligned(const void *p, unsigned bytes, const char *what, const char *file, int line)
{
	fail_as(Fault::alignment, "%s:%d: %s: address %p is not a multiple of %u", file, line, what, p, bytes);
}

void too_much_shared(size_t bytes, const char *file, int line)
{
	fail_as(Fault::shared_memory, "%s:%d: needs %zu bytes of shared memory, the launch gave %u", file, line, bytes,
		self()->worker->shared);
}

void stop_at_address(const char *why) { fail_as(Fault::address, "illegal address: %s", why); }

// --- starting and ending threads

static void begin(Member *m)
{
	EMU_ACQUIRE(&m->worker->begin);
	m->group = m->phase = m->warp_phase = 0;
	m->copies.clear();
}

static void end(Member *m)
{
	if (!m->copies.empty())
		fail("leaves the kernel with %zu cp.async not waited for", m->copies.size());
	EMU_RELEASE(&m->worker->end);
	m->done = true;
	m->worker->finished++;
}

// A fiber begins or goes on with the thread that is current when something switches to it.
static void fiber_main()
{
	Worker *w = here;
#if defined(EMU_ASAN)
	__sanitizer_finish_switch_fiber(nullptr, (const void **)&came_from->bottom, &came_from->size);
#endif
	for (;;) {
		Member *m = self();
		Fiber *own = m->fiber;
		begin(m);
		w->kernel->run(w->arguments);
		end(m);
		Member *next = w->waiting_to_run ? w->pop() : nullptr;
#if !defined(EMU_TSAN) // for which every thread of a block is a fiber of its own
		if (next && !next->fiber) {
			next->fiber = own;
			current = next;
			continue;
		}
		w->idle.push_back(own);
#endif
		w->go(own, next);
	}
}

static void grow(Worker *w)
{
	constexpr unsigned MORE = 32;
	char *stacks = (char *)mmap(nullptr, STACK * MORE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stacks == MAP_FAILED) {
		fprintf(stderr, "emu: no memory for the stacks of fibers\n");
		abort();
	}
	for (unsigned i = 0; i < MORE; i++) {
		Fiber *f = new Fiber();
		mprotect(stacks + i * STACK, GUARD, PROT_NONE);
		f->bottom = stacks + i * STACK + GUARD;
		f->size = STACK - GUARD;
#if defined(EMU_TSAN)
		f->tsan = __tsan_create_fiber(0);
#endif
		prepare(f, (unsigned)w->fibers.size(), fiber_main);
		w->fibers.emplace_back(f);
		w->idle.push_back(f);
	}
}

Fiber *Worker::fiber_for(Member *m)
{
	if (idle.empty())
		grow(this);
	m->fiber = idle.back();
	idle.pop_back();
	return m->fiber;
}

// go leaves the fiber from for the thread next, or for the block's end where there is none.
void Worker::go(Fiber *from, Member *next)
{
	if (!next) {
		running = false;
		swap(from, &home);
		return;
	}
	if (!next->fiber)
		fiber_for(next);
	current = next;
	swap(from, next->fiber);
}

// wait lets others run until something pushes m. Where nobody else can run, the block is stuck and m is not come back to.
void Worker::wait(Member *m) { go(m->fiber, waiting_to_run ? pop() : nullptr); }

// --- barriers and collectives

void barrier(const char *file, int line)
{
	Member *m = self();
	Worker *w = m->worker;
	if (w->at_barrier == 0) {
		w->barrier_file = file;
		w->barrier_line = line;
	} else if (w->barrier_line != line || (w->barrier_file != file && strcmp(w->barrier_file, file))) {
		fail("divergent barrier: %s:%d here, while %u threads wait at %s:%d", file, line, w->at_barrier, w->barrier_file,
			w->barrier_line);
	}
	char *ordered = &w->ordered[m->phase++ & 1];
	EMU_RELEASE(ordered);
	m->what = "__syncthreads";
	m->file = file;
	m->line = line;
	if (++w->at_barrier == w->threads) {
		w->at_barrier = 0;
		for (unsigned i = 0; i < w->threads; i++)
			if (&w->members[i] != m)
				w->push(&w->members[i]);
	} else {
		w->wait(m);
	}
	EMU_ACQUIRE(ordered);
}

void meet(void (*act)(Warp &, unsigned), unsigned mask, void *argument, const char *what, const char *file, int line)
{
	Member *m = self();
	Warp &w = *m->warp;
	unsigned mine = 1u << m->lane;
	if (!(mask & mine))
		fail("%s:%d: %s: the own lane %u is not in mask %08x", file, line, what, m->lane, mask);
	unsigned at = 0;
	while (at < w.meetings && !(w.meeting[at].mask & mask))
		at++;
	Meeting &g = w.meeting[at];
	if (at == w.meetings) {
		w.meetings++;
		g = {mask, 0, what, file, line};
	} else if (g.mask != mask || g.line != line || g.what != what) {
		unsigned lane = (unsigned)__builtin_ctz(g.arrived);
		fail("diverged warp: lane %u is in %s at %s:%d, mask %08x; lane %u in %s at %s:%d, mask %08x", m->lane, what, file,
			line, mask, lane, g.what, g.file, g.line, g.mask);
	}
	w.argument[m->lane] = argument;
	g.arrived |= mine;
	if (g.arrived == mask) {
		g = w.meeting[--w.meetings];
		act(w, mask);
		for (unsigned rest = mask & ~mine; rest; rest &= rest - 1)
			m->worker->push(w.lane[__builtin_ctz(rest)]);
		return;
	}
	m->what = what;
	m->file = file;
	m->line = line;
	m->worker->wait(m);
}

void syncwarp(unsigned mask, const char *file, int line)
{
	Member *m = self();
	char *ordered = &m->warp->ordered[m->warp_phase++ & 1];
	EMU_RELEASE(ordered);
	meet([](Warp &, unsigned) {}, mask, nullptr, "__syncwarp", file, line);
	EMU_ACQUIRE(ordered);
}

// --- blocks

// renew_fibers makes every fiber begin anew.
void Worker::renew_fibers()
{
	idle.clear();
	for (size_t i = 0; i < fibers.size(); i++) {
		prepare(fibers[i].get(), (unsigned)i, fiber_main);
		idle.push_back(fibers[i].get());
	}
}

void Worker::start(const Kernel *k, dim3 grid, dim3 size, unsigned shared_bytes, void *const *a, const Options &o)
{
	here = this;
	if (!pthread_equal(owner, pthread_self())) {
		renew_fibers(); // a compiler may keep the address of a thread-local variable across a switch
		owner = pthread_self();
	}
	options = o;
	kernel = k;
	arguments = a;
	shared = shared_bytes;
	block.grid = grid;
	block.threads = size;
	threads = size.x * size.y * size.z;
	warps = (threads + 31) / 32;
	random = (o.seed + 1) * 0x9E3779B97F4A7C15ull | 1;
	failed = false;
	result = Result();
	if (members.size() < threads) {
		members.resize(threads);
		ready.resize(threads);
		warp.resize(warps);
	}
#if defined(EMU_TSAN)
	pieces.reserve(64);
	for (Member &m : members)
		m.copies.reserve(1024);
#endif
#if defined(EMU_TSAN)
	home.tsan = __tsan_get_current_fiber();
#endif
}

void Worker::finish()
{
	EMU_ACQUIRE(&end);
	if (failed)
		renew_fibers(); // some were left in the middle
	current = nullptr;
	here = nullptr;
}

void Worker::report_deadlock()
{
	unsigned barriers = 0, collectives = 0;
	Member *first = nullptr;
	for (unsigned i = 0; i < threads; i++) {
		Member &m = members[i];
		if (m.done)
			continue;
		first = first ? first : &m;
		++(strcmp(m.what, "__syncthreads") ? collectives : barriers);
	}
	failed = true;
	result.fault = Fault::deadlock;
	snprintf(result.message, sizeof result.message,
		"%s block (%u,%u,%u): deadlock: %u of %u threads have left, %u wait at a barrier, %u in a warp collective; "
		"thread (%u,%u,%u) waits in %s at %s:%d",
		kernel->name, block.index.x, block.index.y, block.index.z, finished, threads, barriers, collectives,
		first->thread.x, first->thread.y, first->thread.z, first->what, first->file, first->line);
}

void Worker::run_block(unsigned x, unsigned y, unsigned z, unsigned nth)
{
	block.index = {x, y, z};
	finished = at_barrier = head = waiting_to_run = 0;
	for (unsigned i = 0; i < warps; i++)
		warp[i].meetings = 0;
	open_arena();
#if defined(EMU_TSAN) // threads of different blocks are unordered, unless they share a fiber: it is another each time
	unsigned turn = nth * 37 % threads;
	while (fibers.size() < threads) // memory that one fiber allocates and another frees would be reported
		grow(this);
	idle.clear();
	for (size_t i = 0; i < fibers.size(); i++)
		idle.push_back(fibers[(i + turn) % fibers.size()].get());
#else
	(void)nth;
#endif
	uint3 at = {0, 0, 0};
	for (unsigned i = 0; i < threads; i++) {
		Member &m = members[i];
		m.thread = at;
		m.lane = i & 31;
		m.block = &block;
		m.worker = this;
		m.warp = &warp[i >> 5];
		m.warp->lane[m.lane] = &m;
		m.fiber = nullptr;
		m.done = false;
		push(&m);
		if (++at.x == block.threads.x) {
			at.x = 0;
			if (++at.y == block.threads.y) {
				at.y = 0;
				at.z++;
			}
		}
	}
	EMU_RELEASE(&begin);
	running = true;
	go(&home, pop());
	running = false;
	if (!failed && finished != threads)
		report_deadlock();
	close_arena();
}

} // namespace emu
