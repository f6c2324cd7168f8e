// A launch: its blocks dealt out over this OS thread and, where there is enough to do, over workers that are kept between
// launches together with their fibers.
#include "launch.h"

#include <stdio.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <thread>

#include "worker.h"

namespace emu {

void (*before_work)() = [] {};

namespace {

// Launches that are expected to take less are not worth waking a worker for. What a thread costs is known from the kernel's
// latest launch.
constexpr double WORTH_SHARING = 40e3; // ns

double nanoseconds()
{
	return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Job {
	const Kernel *kernel;
	dim3 grid, block;
	unsigned shared, blocks, stride, offset;
	void *const *arguments;
	const Options *options;
	std::atomic<unsigned> next{0};
	std::atomic<bool> failed{false};
	std::mutex mutex;
	Result result;

	// nth returns the block that is run as number i, for every order a permutation.
	unsigned nth(unsigned i) const
	{
		if (options->order == Order::random)
			return (unsigned)(((uint64_t)i * stride + offset) % blocks);
		return options->order == Order::reversed ? blocks - 1 - i : i;
	}
};

void work(Worker &w, Job &j, unsigned number)
{
	Options o = *j.options;
	o.seed += 0x10001 * number;
	w.start(j.kernel, j.grid, j.block, j.shared, j.arguments, o);
	for (unsigned i; !j.failed.load(std::memory_order_relaxed) && (i = j.next.fetch_add(1)) < j.blocks;) {
		unsigned b = j.nth(i);
		w.run_block(b % j.grid.x, b / j.grid.x % j.grid.y, b / (j.grid.x * j.grid.y), i);
		if (w.failed) {
			std::lock_guard<std::mutex> lock(j.mutex);
			if (!j.failed.exchange(true))
				j.result = w.result;
		}
	}
	w.finish();
}

// Helper is a kept OS thread. It lives as long as the process.
struct Helper {
	std::mutex mutex;
	std::condition_variable changed;
	Job *job = nullptr;
	unsigned number = 0;

	explicit Helper(unsigned n) : number(n)
	{
		std::thread([this] { run(); }).detach();
	}
	void run()
	{
		Worker *w = new Worker();
		for (std::unique_lock<std::mutex> lock(mutex);;) {
			changed.wait(lock, [this] { return job != nullptr; });
			before_work();
			work(*w, *job, number);
			job = nullptr;
			changed.notify_all();
		}
	}
	void give(Job *j)
	{
		std::lock_guard<std::mutex> lock(mutex);
		job = j;
		changed.notify_all();
	}
	void wait()
	{
		std::unique_lock<std::mutex> lock(mutex);
		changed.wait(lock, [this] { return job == nullptr; });
	}
};

std::vector<Helper *> &helpers()
{
	static std::vector<Helper *> &all = *new std::vector<Helper *>(); // never destroyed: its threads outlive main
	return all;
}

} // namespace

Result launch(Kernel *kernel, dim3 grid, dim3 block, unsigned shared, void *const *arguments, const Options &o)
{
	static Worker &own = *new Worker();
	static std::mutex one_at_a_time;
	std::lock_guard<std::mutex> lock(one_at_a_time);

	Job j;
	uint64_t threads = (uint64_t)block.x * block.y * block.z, blocks = (uint64_t)grid.x * grid.y * grid.z;
	if (threads == 0 || threads > MAX_THREADS || blocks == 0 || blocks > 0x7fffffffu || shared > MAX_SHARED) {
		j.result.fault = Fault::other;
		snprintf(j.result.message, sizeof j.result.message, "%s: %zu blocks of %zu threads with %u bytes of shared memory",
			kernel->name, (size_t)blocks, (size_t)threads, shared);
		return j.result;
	}
	j.kernel = kernel;
	j.grid = grid;
	j.block = block;
	j.shared = shared;
	j.blocks = (unsigned)blocks;
	j.arguments = arguments;
	j.options = &o;
	j.offset = (unsigned)(o.seed * 0x9E3779B97F4A7C15ull >> 33) % j.blocks;
	j.stride = (unsigned)(o.seed * 0xD1B54A32D192ED03ull >> 33) % j.blocks | 1;
	while (std::gcd(j.stride, j.blocks) != 1)
		j.stride++;

	unsigned extra = 0;
	if (o.workers > 1 && blocks > 1 && kernel->cost * (double)(threads * blocks) >= WORTH_SHARING)
		extra = (unsigned)std::min<uint64_t>((uint64_t)o.workers, blocks) - 1;
	while (helpers().size() < extra)
		helpers().push_back(new Helper((unsigned)helpers().size() + 1));
	double began = nanoseconds();
	for (unsigned i = 0; i < extra; i++)
		helpers()[i]->give(&j);
	work(own, j, 0);
	for (unsigned i = 0; i < extra; i++)
		helpers()[i]->wait();
	kernel->cost = (nanoseconds() - began) * (1 + extra) / (double)(threads * blocks);
	return j.result;
}

} // namespace emu
