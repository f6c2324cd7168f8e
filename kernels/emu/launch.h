// How a launch is made: used by the driver and by tests, never by kernels.
#pragma once
#include "engine.h"
#include "registry.h"

namespace emu {

// Order is that of the threads of a block between barriers, and of the blocks. Copies says when cp.async happens: at its
// issue, or at the wait for it (until then its target holds NaN), or one or the other by the toss of a coin. A right kernel
// gives the same result under every one.
enum class Order { in_order, reversed, random };
enum class Copies { eager, lazy, random };

struct Options {
	uint64_t seed = 1;
	Order order = Order::random;
	Copies copies = Copies::random;
	int workers = 1; // OS threads that run the blocks
};

enum class Fault { none, address, alignment, deadlock, shared_memory, other };

struct Result {
	Fault fault = Fault::none;
	char message[600] = "";
};

// The limits of a launch, as on sm_80.
constexpr unsigned MAX_THREADS = 1024, MAX_SHARED = 227 << 10;

// launch runs kernel and waits for it. arguments[i] points to the value of argument i.
Result launch(Kernel *kernel, dim3 grid, dim3 block, unsigned shared, void *const *arguments, const Options &o);

// in_kernel reports whether this OS thread is inside a kernel's own code; stop_at_address, called then by a signal handler,
// ends the launch as an illegal access that why describes.
bool in_kernel();
[[noreturn]] void stop_at_address(const char *why);

// before_work is called on each OS thread of the engine before it takes part in a launch.
extern void (*before_work)();

} // namespace emu
