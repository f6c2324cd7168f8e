// The C leaves of alignment_cpu.c and links_cpu.c, beside those of leaf.h.
#ifndef PALIMPSEST_ALIGNMENT_H
#define PALIMPSEST_ALIGNMENT_H

#include "leaf.h"

// The states of one lattice that a leaf serves: rows [lo,hi) of those from start on, S of them; its M targets, and E emitted
// tokens, the last of which is the blank where E > M.
typedef struct {
	int start, lo, hi, S, M, E, blank;
} emission_rows;
void emissions(int level, float *match, float *lse, const float *logits, const int32_t *targets, const emission_rows *r, int V);
void emissions_backward(int level, float *logits, const float *dmatch, const float *lse, const int32_t *targets, const emission_rows *r, int V);

size_t align_work(int M, int S);
void align_dag(int level, double *logp, float *dmatch, float *dlinks, const float *match, const float *links, int M, int S,
	double scale, int grad, float *work);

void links_forward(int level, float *links, float *lse, float *scores, const float *gate, const int32_t *groups, int from,
	int rows, int S, int H, float scale);
void links_backward(int level, float *scores, float *dgate, const float *dlinks, const float *links, const float *lse,
	const float *gate, int from, int rows, int S, int H, int head, float scale);

#endif
