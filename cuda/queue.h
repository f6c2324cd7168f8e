//go:build cuda

// Packed commands of a device and the loop that issues them.
#ifndef PALIMPSEST_QUEUE_H
#define PALIMPSEST_QUEUE_H

#include <cuda.h>
#include <stdint.h>

enum {
	COMMAND_LAUNCH = 1, // handle: function; grid, block, shared; size bytes of parameters at `at`
	COMMAND_COPY,       // a: target, b: source, n: bytes, all on the device
	COMMAND_COPY_IN,    // a: target on the device, b: pinned host source
	COMMAND_COPY_OUT,   // a: pinned host target, b: source on the device
	COMMAND_FILL,       // a: target, b: byte, n: bytes
	COMMAND_RECORD,     // handle: event
	COMMAND_WAIT,       // handle: event that the stream waits for
	COMMAND_GRAPH,      // handle: executable graph
	COMMAND_PRODUCT,    // handle: struct product (products.h); a, b: operands, n: result, more: bias, auxiliary
};

// Addresses and handles are integers, so that a command is plain data for Go.
typedef struct {
	uint32_t kind, stream; // stream: 0 computes, 1 copies
	uint32_t grid[3], block[3];
	uint32_t shared;
	uint32_t at, size;
	uint64_t handle, a, b, n;
	uint64_t more[2];
} command;

// queue_issue issues n commands. It returns 0, or the result of the one that failed, whose number goes to *failed;
// those after it are not issued.
int queue_issue(const command *c, int n, const unsigned char *parameters, uint64_t compute, uint64_t copies, int *failed);

// Small calls that gorgonia.org/cu lacks. ctx is made current on the calling thread where one is given.
int event_create(uint64_t *event);
int event_wait(uint64_t ctx, uint64_t event);
int event_query(uint64_t ctx, uint64_t event);
int event_elapsed(uint64_t ctx, uint64_t from, uint64_t to, float *ms);
int event_destroy(uint64_t event);
int pinned_alloc(uint64_t *at, size_t bytes);
int pinned_free(uint64_t at);
int capture_begin(uint64_t stream);
int capture_end(uint64_t stream, uint64_t *exec, size_t *nodes);
int graph_destroy(uint64_t exec);

// A sequence of launches, copies on the device, fills and products as a graph. The graph is kept beside its executable, whose
// nodes are named by the graph's.
//
// sequence_capture captures n commands; nodes[i] is that of command i, 0 of a product. It
// returns 0, or a result as queue_issue does; *failed is then the command at fault, -1 where it is none of them.
int sequence_capture(const command *c, int n, const unsigned char *parameters, uint64_t stream, uint64_t *graph, uint64_t *exec,
	uint64_t *nodes, int *failed);
// sequence_patch changes the nodes whose commands differ from what they were; *patched counts them. The functions, sizes of
// parameters and products of both lists are the same.
int sequence_patch(uint64_t exec, const uint64_t *nodes, int n, const command *now, const unsigned char *parameters,
	const command *was, const unsigned char *parameters_were, uint64_t ctx, int *patched, int *failed);
int sequence_launch(uint64_t exec, uint64_t stream);
// sequence_destroy waits for the stream first.
int sequence_destroy(uint64_t graph, uint64_t exec, uint64_t stream);
int module_load(uint64_t *module, const char *ptx, char *log, unsigned room);
int function_shared(uint64_t function, int bytes);
int function_parameter(uint64_t function, size_t i, size_t *offset, size_t *size);

#endif
