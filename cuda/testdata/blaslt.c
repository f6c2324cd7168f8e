// A cuBLASLt for tests: the calls that package cuda uses, computed by the book. A product is queued, so that it can be
// captured: as a host function of the emulated driver named in PALIMPSEST_LIBCUDA, whose device memory the host can reach there.
// It keeps the documented meaning of every argument (column-major matrices, leading dimensions, batches, epilogues) and
// refuses what it does not know, and matrices that are not in one allocation.
#include <cuda.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { F32 = 0, BF16 = 14 };

struct desc {
	int transpose_a, transpose_b, epilogue, bias_type;
	CUdeviceptr bias, auxiliary;
	int64_t auxiliary_ld;
};
struct layout {
	int type, batch;
	uint64_t rows, columns;
	int64_t ld, stride;
};
struct heuristic {
	uint64_t algo[8];
	size_t workspace;
	int state;
	float waves;
	int reserved[4];
};

static CUresult (*range_of)(CUdeviceptr *, size_t *, CUdeviceptr), (*later)(CUstream, CUhostFn, void *);

size_t cublasLtGetVersion(void) { return 129901; }
const char *cublasLtGetStatusString(int s) { return s == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "some CUBLAS status"; }

int cublasLtCreate(void **handle) {
	const char *driver = getenv("PALIMPSEST_LIBCUDA");
	void *library = driver ? dlopen(driver, RTLD_NOW) : 0;
	if (!library) return NOT_INITIALIZED;
	range_of = (CUresult(*)(CUdeviceptr *, size_t *, CUdeviceptr))dlsym(library, "cuMemGetAddressRange_v2");
	later = (CUresult(*)(CUstream, CUhostFn, void *))dlsym(library, "cuLaunchHostFunc");
	*handle = library;
	return range_of && later ? OK : NOT_INITIALIZED;
}
int cublasLtDestroy(void *handle) { return handle ? OK : INVALID_VALUE; }

int cublasLtMatmulDescCreate(struct desc **d, int compute, int scale) {
	if (compute != 68 || scale != F32) return NOT_SUPPORTED;
	*d = calloc(1, sizeof **d);
	(*d)->epilogue = 1;
	return OK;
}
int cublasLtMatmulDescDestroy(struct desc *d) { free(d); return OK; }
int cublasLtMatmulDescSetAttribute(struct desc *d, int attribute, const void *value, size_t size) {
	struct { int attribute; void *to; size_t size; } known[] = {{3, &d->transpose_a, 4}, {4, &d->transpose_b, 4}, {7, &d->epilogue, 4}, {8, &d->bias, 8},
		{11, &d->auxiliary, 8}, {12, &d->auxiliary_ld, 8}, {26, &d->bias_type, 4}};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].attribute == attribute && known[i].size == size) {
			memcpy(known[i].to, value, size);
			return OK;
		}
	return INVALID_VALUE;
}
int cublasLtMatrixLayoutCreate(struct layout **l, int type, uint64_t rows, uint64_t columns, int64_t ld) {
	if ((type != F32 && type != BF16) || ld < (int64_t)rows) return INVALID_VALUE;
	*l = calloc(1, sizeof **l);
	**l = (struct layout){type, 1, rows, columns, ld, 0};
	return OK;
}
int cublasLtMatrixLayoutDestroy(struct layout *l) { free(l); return OK; }
int cublasLtMatrixLayoutSetAttribute(struct layout *l, int attribute, const void *value, size_t size) {
	if (attribute == 5 && size == 4) memcpy(&l->batch, value, 4);
	else if (attribute == 6 && size == 8) memcpy(&l->stride, value, 8);
	else return INVALID_VALUE;
	return OK;
}
int cublasLtMatmulPreferenceCreate(void **p) { return (*p = malloc(1)) ? OK : INVALID_VALUE; }
int cublasLtMatmulPreferenceDestroy(void *p) { free(p); return OK; }
int cublasLtMatmulPreferenceSetAttribute(void *p, int attribute, const void *value, size_t size) {
	(void)p;
	if (attribute == 1) return size == 8 ? OK : INVALID_VALUE;
	uint32_t alignment;
	if (attribute < 5 || attribute > 8 || size != 4) return INVALID_VALUE;
	memcpy(&alignment, value, 4);
	return alignment && !(alignment & (alignment - 1)) ? OK : INVALID_VALUE;
}
int cublasLtMatmulAlgoGetHeuristic(void *h, struct desc *d, struct layout *a, struct layout *b, struct layout *c, struct layout *r, void *p, int wanted,
	struct heuristic *out, int *found) {
	(void)h, (void)p, (void)c;
	uint64_t k = d->transpose_a ? a->rows : a->columns;
	*found = 0;
	if ((d->transpose_a ? a->columns : a->rows) != r->rows || (d->transpose_b ? b->rows : b->columns) != r->columns ||
		(d->transpose_b ? b->columns : b->rows) != k)
		return INVALID_VALUE;
	if (wanted < 1 || (d->epilogue & 256)) return NOT_SUPPORTED; // as for sums of A, on purpose: a test asks for one that is not there
	memset(out, 0, sizeof *out);
	out->algo[0] = 42, out->algo[7] = k;
	*found = 1;
	return OK;
}
// An algorithm serves a k of up to 256 less than the one it was chosen for, but for 999.
static int serves(const uint64_t *algo, uint64_t k) { return algo[0] == 42 && k <= algo[7] && algo[7] - k < 256 && (k != 999 || algo[7] == k); }
int cublasLtMatmulAlgoCheck(void *h, struct desc *d, struct layout *a, struct layout *b, struct layout *c, struct layout *r, const uint64_t *algo,
	struct heuristic *out) {
	(void)h, (void)b, (void)c, (void)r;
	memset(out, 0, sizeof *out);
	return serves(algo, d->transpose_a ? a->rows : a->columns) ? OK : NOT_SUPPORTED;
}

static float get(const unsigned char *m, int type, int64_t i) {
	float v;
	if (type == F32) return memcpy(&v, m + 4 * i, 4), v;
	uint32_t bits = 0;
	memcpy((char *)&bits + 2, m + 2 * i, 2);
	return memcpy(&v, &bits, 4), v;
}
static void set(unsigned char *m, int type, int64_t i, float v) {
	if (type == F32) {
		memcpy(m + 4 * i, &v, 4);
		return;
	}
	uint32_t bits;
	memcpy(&bits, &v, 4);
	bits += 0x7fff + (bits >> 16 & 1);
	memcpy(m + 2 * i, (char *)&bits + 2, 2);
}
static size_t width(int type) { return type == F32 ? 4 : 2; }
static int inside(CUdeviceptr at, size_t bytes) {
	CUdeviceptr base;
	size_t size;
	return !range_of(&base, &size, at) && at + bytes <= base + size;
}
static size_t extent(const struct layout *l) { return ((l->columns - 1) * l->ld + l->rows + (l->batch - 1) * l->stride) * width(l->type); }

static double gelu(double x) { return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
static double gelu_slope(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

struct product {
	struct desc d;
	struct layout a, b, r, auxiliary;
	float alpha, beta;
	unsigned char *A, *B, *R;
};

static uint64_t inner(const struct product *p) { return p->d.transpose_a ? p->a.rows : p->a.columns; }
static uint64_t bias_length(const struct product *p) { return p->d.epilogue & 512 ? p->r.columns : p->r.rows; }

static void compute(void *data) {
	const struct product *p = data;
	const struct desc *d = &p->d;
	uint64_t m = p->r.rows, n = p->r.columns, k = inner(p), length = bias_length(p);
	unsigned char *bias = (unsigned char *)d->bias, *auxiliary = (unsigned char *)d->auxiliary;
	int e = d->epilogue;
	double *sums = calloc(length, sizeof *sums);
	for (int q = 0; q < p->r.batch; q++)
		for (uint64_t j = 0; j < n; j++)
			for (uint64_t i = 0; i < m; i++) {
				double sum = 0;
				for (uint64_t t = 0; t < k; t++)
					sum += (double)get(p->A, p->a.type, q * p->a.stride + (d->transpose_a ? i * p->a.ld + t : t * p->a.ld + i)) *
						get(p->B, p->b.type, q * p->b.stride + (d->transpose_b ? t * p->b.ld + j : j * p->b.ld + t));
				int64_t at = q * p->r.stride + j * p->r.ld + i;
				sum = sum * p->alpha + (p->beta ? p->beta * get(p->R, p->r.type, at) : 0);
				if (e & 4) sum += get(bias, d->bias_type, i);
				if (e & 32) {
					if (auxiliary) set(auxiliary, BF16, j * d->auxiliary_ld + i, sum);
					sum = gelu(sum);
				}
				if (e & 64) sum *= gelu_slope(get(auxiliary, BF16, j * d->auxiliary_ld + i));
				if (e & 16) sums[i] += sum;
				set(p->R, p->r.type, at, sum);
			}
	if (e & 512)
		for (uint64_t j = 0; j < n; j++)
			for (uint64_t t = 0; t < k; t++) sums[j] += get(p->B, p->b.type, d->transpose_b ? t * p->b.ld + j : j * p->b.ld + t);
	if (e & (16 | 256 | 512))
		for (uint64_t i = 0; i < length; i++) set(bias, d->bias_type, i, sums[i]);
	free(sums);
}

int cublasLtMatmul(void *handle, struct desc *d, const float *alpha, CUdeviceptr a, struct layout *la, CUdeviceptr b, struct layout *lb, const float *beta,
	CUdeviceptr c, struct layout *lc, CUdeviceptr r, struct layout *lr, const uint64_t *algo, void *workspace, size_t room, CUstream stream) {
	struct product p = {*d, *la, *lb, *lr, {BF16, 1, lr->rows, lr->columns, d->auxiliary_ld, 0}, *alpha, *beta,
		(unsigned char *)a, (unsigned char *)b, (unsigned char *)r};
	int e = d->epilogue;
	if (!handle || !workspace || room < 1 << 20 || !serves(algo, inner(&p)) || c != r || lc != lr || !inside(a, extent(la)) ||
		!inside(b, extent(lb)) || !inside(r, extent(lr)) || !!d->bias != !!(e & (4 | 16 | 256 | 512)) || !!d->auxiliary != !!(e & 128) ||
		(d->bias && !inside(d->bias, bias_length(&p) * width(d->bias_type))) ||
		(d->auxiliary && !inside(d->auxiliary, extent(&p.auxiliary))))
		return INVALID_VALUE;
	struct product *kept = malloc(sizeof *kept); // for good: a graph may run it again
	*kept = p;
	return later(stream, compute, kept) ? INVALID_VALUE : OK;
}
