// OpenBLAS opened at run time, so that one binary runs with and without it.
#ifndef PALIMPSEST_BLAS_H
#define PALIMPSEST_BLAS_H

#include <stddef.h>

// blas_open opens the library and keeps its functions; NULL for success, else why not (owned by the loader). It may be
// called again. Unless the user has set OPENBLAS_CORETYPE, it is set first to what the processor can do.
const char *blas_open(const char *path);
const char *blas_config(void);
const char *blas_core(void);
void blas_sgemm(int transA, int transB, int m, int n, int k, const float *a, int lda, const float *b, int ldb, int add,
	float *c, int ldc);

#endif
