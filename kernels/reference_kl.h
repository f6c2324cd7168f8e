// The C leaf of reference_kl_cpu.c, beside those of leaf.h.
#ifndef PALIMPSEST_REFERENCE_KL_H
#define PALIMPSEST_REFERENCE_KL_H

#include "leaf.h"

enum { FORWARD_KL = 1, REVERSE_KL, LIKELIHOOD, UNLIKELIHOOD }; // Pull

typedef struct {
	double scale, eps, floor; // floor: -Inf where there is none
	int unwanted, kept, per_entry, clip, floor_kept, grad;
} pull_options;
void reference_kl(int level, float *logits, const float *reference, const int32_t *targets, const float *weights, float *nll,
	float *loss, float *kl, int lo, int hi, int V, const pull_options *o);

#endif
