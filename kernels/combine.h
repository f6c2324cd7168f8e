// The C leaves of combine_cpu.c, beside those of leaf.h.
#ifndef PALIMPSEST_COMBINE_H
#define PALIMPSEST_COMBINE_H

#include "leaf.h"

void combine(int level, float *dst, const float *x, const float *y, float *copy, size_t n, float a, float b);
void momentum(int level, float *m, float *u, const float *g, size_t n, float scale, float beta, int nesterov);
void lamb_direction(int level, float *u, const float *p, const float *g, float *m, float *v, size_t n, const adamw_step *o);
void scale_rows(int level, float *x, const float *scales, int rows, int C);

#endif
