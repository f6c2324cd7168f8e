// The emulated driver: libcuda's entry points over the engine. Work is queued by stream and run late, in an order that only
// streams, events and the default stream constrain, so that a missing wait shows. A fault of the host code gives the
// CUresult that the driver's documentation names and one line on stderr. What its parts know of each other:
//
//   driver.cpp          settings, errors, handles           driver_queue.cpp    streams, events
//   driver_device.cpp   the device, contexts                driver_graphs.cpp   capture, graphs
//   driver_memory.cpp   allocations, copies, fills          driver_modules.cpp  PTX, functions, launches
//                                                           driver_record.cpp   launches written to files
//
// Variables, read at cuInit:
//
//   PALIMPSEST_EMU_ORDER    random (default), eager, late, reversed: see When
//   PALIMPSEST_EMU_COPIES   random (default), eager, lazy: when cp.async copies
//   PALIMPSEST_EMU_SEED     of everything random (1)
//   PALIMPSEST_EMU_WORKERS  OS threads that run a launch (2)
//   PALIMPSEST_EMU_MEM      the device's memory in MiB (1024)
//   PALIMPSEST_EMU_CC       its compute capability (80)
//   PALIMPSEST_EMU_FAIL     name:n:code: the n-th call of name, with its suffix, fails with code
//   PALIMPSEST_EMU_STATS    1: launches, threads and time by kernel when a context ends
//   PALIMPSEST_EMU_RECORD   a folder for launches that replay.cpp runs again
#pragma once
#include <cuda.h>
#include <stdint.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "launch.h"

namespace driver {

typedef uintptr_t Address;
typedef std::function<CUresult()> Work;

// When queued work runs: at the call; when something waits for it, in the order of the calls; or at random. Threads and
// blocks run in order (eager, late), reversed or at random.
enum class When { random, eager, late, reversed };

struct Settings {
	When when = When::random;
	emu::Copies copies = emu::Copies::random;
	uint64_t seed = 1;
	int workers = 2, capability = 80;
	size_t memory = (size_t)1 << 30;
	bool statistics = false, initialised = false;
};
extern Settings settings;

unsigned below(unsigned n); // a random number under the settings' seed
double milliseconds();
size_t round_up(size_t n, size_t to);
int shared_opt_in(); // bytes of shared memory that a function may be allowed

// --- handles. Objects are never freed, so that a stale handle is known as such.

struct Context;
struct Graph;
struct GraphNode;
struct Function;

enum class Kind { stream, event, graph, node, executable, module, function };

struct Object {
	Kind kind;
	bool alive = true;
	Context *context;
	explicit Object(Kind k);
	virtual ~Object() {}
};

struct Event : Object {
	uint64_t recorded = 0, done = 0; // the number of records queued and run
	double time = 0;
	unsigned flags = 0;
	Graph *capture = nullptr; // where it was recorded last, and behind which of its nodes
	std::vector<int> behind;
	Event() : Object(Kind::event) {}
};

// Entry is a piece of queued work. It may wait for a record of an event.
struct Entry {
	Work work;
	Event *awaited;
	uint64_t record, number;
	const char *call;
};

struct Stream : Object {
	std::deque<Entry> queue;
	unsigned flags = 0;
	Graph *capture = nullptr;
	std::vector<int> behind; // the nodes that its next captured work depends on
	std::vector<GraphNode *> told; // the same as handles, for who asked last
	Stream() : Object(Kind::stream) {}
};

// What says of captured work how its node may be changed later.
enum class Does { other, launch, fill, copy };
struct What {
	Does does = Does::other;
	Function *function = nullptr; // of a launch, whose node keeps it
};

struct Node {
	Work work;
	std::vector<int> needs;
	const char *call;
	What what;
};

// GraphNode is the handle of a graph's node. It names the node of every executable that was made of the graph.
struct GraphNode : Object {
	Graph *graph;
	int at;
	GraphNode(Graph *g, int i) : Object(Kind::node), graph(g), at(i) {}
};

struct Graph : Object {
	std::vector<Node> nodes;
	std::vector<GraphNode *> handles; // of some nodes, null of others
	Stream *origin = nullptr;
	std::vector<Stream *> streams;
	bool open = true, spoilt = false, strict = true;
	std::thread::id thread;
	Graph() : Object(Kind::graph) {}
};

struct Executable : Object {
	Graph *graph = nullptr;
	std::shared_ptr<std::vector<Node>> nodes; // shared with the launches that are queued, which changes do not reach
	size_t bytes = 0; // of device memory
	Executable() : Object(Kind::executable) {}
};

struct Module;

struct Function : Object {
	Module *module = nullptr;
	emu::Kernel *kernel = nullptr;
	std::string name;
	unsigned max_threads = emu::MAX_THREADS;
	int shared = 48 << 10; // dynamic shared memory allowed
	Function() : Object(Kind::function) {}
};

struct Module : Object {
	std::map<std::string, Function *> functions;
	Module() : Object(Kind::module) {}
};

struct Context {
	bool alive = true;
	int references = 0;
	CUresult sticky = CUDA_SUCCESS; // a fault of a kernel: every later call answers with it
	Stream *null = nullptr;
	std::vector<Stream *> streams;
};
extern thread_local Context *context; // current on this OS thread

// --- errors

// refuse prints the line that explains an error and returns its code.
CUresult refuse(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
extern thread_local const char *call_name;

// Call is held by every entry point: it takes the lock, opens device memory to this thread and says whether the call may go
// on (code).
struct Call {
	CUresult code = CUDA_SUCCESS;
	Call(const char *name, bool needs_context);
	~Call();
};

void forget(const Object *o); // no handle of it is known any more
void retire(const Context *c); // none of its objects is alive any more
Object *checked(const void *handle, Kind kind, CUresult *code);
template <class T> T *get(const void *handle, Kind kind, CUresult *code)
{
	return static_cast<T *>(checked(handle, kind, code));
}
Stream *get_stream(CUstream handle, CUresult *code); // 0, 1 and 2 are the default stream

// --- memory

struct Allocation {
	Address at, base;
	size_t bytes, mapped;
	int number;
	bool live;
	Context *context;
};

CUresult reserve_range();
bool in_device(Address a);
Allocation *nearest(Address a); // the allocation at or before it
std::string describe(Address a); // in words, where a device address lies
bool ends_intact(const Allocation &a);
void release_memory(Context *c);
bool charge(size_t bytes); // takes memory that the driver needs for itself; false where there is none
void discharge(size_t bytes);
void open_device(bool on); // lets this OS thread touch device memory
void catch_faults();

// --- work that a graph's node may be given: checked as when it is queued

CUresult launch_work(Function *f, dim3 grid, dim3 block, unsigned shared, void **parameters, void **extra, Work *out);
CUresult fill_work(Address to, uint32_t value, size_t width, size_t n, Work *out);
CUresult copy_work(Address to, Address from, size_t bytes, Work *out); // on the device

// --- queue

CUresult enqueue(Stream *s, Work work, Event *awaited = nullptr, uint64_t record = 0, What what = {});
bool step(Context *c); // runs one piece of work; false where none is left
CUresult finish(Stream *s);
CUresult finish_all();
CUresult forbid_in_capture();

void print_statistics();

// record_launch writes the launch to a file where PALIMPSEST_EMU_RECORD names a folder.
void record_launch(const emu::Kernel *k, dim3 grid, dim3 block, unsigned shared, const std::vector<char> &arguments);

} // namespace driver

#define EXPORT extern "C" __attribute__((visibility("default"))) CUresult

// The beginnings of entry points: with a context, without one, and checks of handles.
#define CALL                              \
	driver::Call call(__func__, true);    \
	if (call.code)                        \
	return call.code
#define CALL_WITHOUT_CONTEXT              \
	driver::Call call(__func__, false);   \
	if (call.code)                        \
	return call.code
#define GET(type, name, handle, kind)                                                     \
	driver::type *name = driver::get<driver::type>(handle, driver::Kind::kind, &call.code); \
	if (!name)                                                                            \
	return call.code
#define GET_STREAM(name, handle)                                     \
	driver::Stream *name = driver::get_stream(handle, &call.code);   \
	if (!name)                                                       \
	return call.code
