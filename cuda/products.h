//go:build cuda

// Matrix products by cuBLASLt, opened at run time: own prototypes of the calls in use, numbers and signatures from the
// cuBLAS documentation (https://docs.nvidia.com/cuda/cublas/), the same from CUDA 11.4 to 13.
#ifndef PALIMPSEST_PRODUCTS_H
#define PALIMPSEST_PRODUCTS_H

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	uint64_t opaque[8];
} blaslt_algo;

typedef struct {
	blaslt_algo algo;
	size_t workspace;
	int state;
	float waves;
	int reserved[4];
} blaslt_heuristic;

// The library: its calls and a handle.
struct blaslt {
	void *library, *handle;
	uint64_t workspace;
	size_t workspace_bytes;
	size_t (*version)(void);
	const char *(*status_string)(int);
	int (*create)(void **);
	int (*destroy)(void *);
	int (*desc_create)(void **, int compute, int scale);
	int (*desc_destroy)(void *);
	int (*desc_set)(void *, int attribute, const void *, size_t);
	int (*layout_create)(void **, int type, uint64_t rows, uint64_t columns, int64_t ld);
	int (*layout_destroy)(void *);
	int (*layout_set)(void *, int attribute, const void *, size_t);
	int (*preference_create)(void **);
	int (*preference_destroy)(void *);
	int (*preference_set)(void *, int attribute, const void *, size_t);
	int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, int wanted,
		blaslt_heuristic *, int *found);
	int (*algo_check)(void *handle, void *desc, void *a, void *b, void *c, void *d, const blaslt_algo *, blaslt_heuristic *);
	int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout,
		const void *beta, const void *c, void *c_layout, void *d, void *d_layout, const blaslt_algo *, void *workspace,
		size_t workspace_bytes, CUstream);
};

// The shape of a product in column-major terms: D[m,n] = op(A) op(B), k between them.
typedef struct {
	uint64_t m, n, k;
	int64_t lda, ldb, ldd, ld_auxiliary;
	int transpose_a, transpose_b;
	int type_d, type_bias; // cudaDataType
	int epilogue;
	uint32_t align_a, align_b, align_d;
	int32_t batch;
	int64_t stride_a, stride_b, stride_d; // elements
	float alpha, beta;
} product_shape;

// A prepared product: descriptors and the algorithm for one shape.
struct product {
	struct blaslt *lt;
	void *desc, *a, *b, *d;
	float alpha, beta;
	int has_bias, has_auxiliary;
	blaslt_algo algo;
	float waves;
	size_t workspace;
};

// blaslt_open opens a library; null with its reason in text.
struct blaslt *blaslt_open(const char *path, char *text, size_t room);
// blaslt_start makes the handle in the current context; workspace is device memory.
int blaslt_start(struct blaslt *, uint64_t workspace, size_t bytes);
void blaslt_close(struct blaslt *);
size_t blaslt_version(struct blaslt *);
const char *blaslt_status(struct blaslt *, int status);

// product_create prepares a product: the algorithm where one is given, else, or where check is set and the library finds that
// it does not serve this shape, the heuristic's first choice. bias is an address of the alignment that later ones have.
int product_create(struct blaslt *, const product_shape *, uint64_t bias, uint64_t auxiliary, const uint64_t *algo, int check,
	struct product **);
void product_destroy(struct product *);
int product_issue(struct product *, uint64_t a, uint64_t b, uint64_t d, uint64_t bias, uint64_t auxiliary, CUstream);

#endif
