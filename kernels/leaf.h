// The C leaves of the CPU backend, one list for Go (leaf_cgo.go) and for the families that define them. Ranges [lo, hi)
// are rows unless named otherwise; absent arguments are null. level is described in levels.h.
#ifndef PALIMPSEST_LEAF_H
#define PALIMPSEST_LEAF_H

#include "cpu.h"

int kernel_level(void);

// activation_cpu.c
void act_forward(int level, float *y, const float *x, size_t n, int act);
void act_backward(int level, float *dx, const float *dy, const float *x, size_t n, int act);
void bias_act(int level, float *y, float *pre, const float *bias, size_t ld, int rows, int columns, int act);
void gated_forward(int level, float *y, const float *gate, const float *up, size_t ld, int rows, int F, int act);
void gated_backward(int level, float *dgate, float *dup, const float *dy, const float *gate, const float *up, size_t ld, int rows,
	int F, int act);

// norm_cpu.c; kinds as NormKind
enum { LAYER_NORM = 1, RMS_NORM = 2 };
void add_norm(int level, float *y, float *sum, const float *x, const float *delta, const float *gain, const float *bias,
	float *mean, float *rstd, int lo, int hi, int C, int kind, float eps, const dropout *d);
void norm_backward(int level, float *dsum, float *dgain, float *dbias, const float *dy, const float *sum,
	const float *gain, const float *mean, const float *rstd, int lo, int hi, int C, int kind, int add);

// embedding_cpu.c
void embed_rows(int level, float *out, const float *tokens, const float *positions, const float *types,
	const int32_t *ids, const int32_t *pos, int lo, int hi, int C);
void scatter_columns(int level, float *dst, const float *src, const int32_t *index, int stride, int rows, int C, int from,
	int to);
void rope_rows(int level, float *x, const int32_t *pos, const float *table, int lo, int hi, size_t ld, int heads, int D,
	int axes, int inverse);

// softmax_cpu.c
void masked_softmax(int level, float *p, float *lse, const float *scores, const uint8_t *mask, int lo, int hi, int C);
void masked_softmax_backward(int level, float *dscores, const float *dp, const float *p, int lo, int hi, int C);

// crossentropy_cpu.c
typedef struct {
	double scale, smoothing, zloss, focal;
	int dft, grad;
} loss_options;
void cross_entropy(int level, float *logits, const int32_t *targets, const float *weights, float *nll, float *loss,
	float *hit, int lo, int hi, int V, const loss_options *o);

// dropout_cpu.c
void dropout_rows(int level, float *y, const float *x, int lo, int hi, int C, const dropout *d);

// reduce_cpu.c
void add_to(int level, float *dst, const float *src, size_t n);
void sum_f64(int level, double *out, const float *x, const float *y, size_t n);
void column_sums(int level, float *out, const float *x, size_t ld, int rows, int columns);
void add_rows(int level, float *dst, const float *parts, int n, size_t ld, int columns);

// adamw_cpu.c
typedef struct {
	float scale, b1, one_minus_b1, b2, one_minus_b2, correction1, correction2, lr, eps, decay;
} adamw_step;
void adamw_update(int level, float *p, const float *g, float *m, float *v, float *copy, size_t n, const adamw_step *o);

// attention_cpu.c
typedef struct {
	int32_t start, end, causal, window; // the segment; window 0: none
	int32_t head;                       // key/value head
	int32_t lo, hi;                     // forward: queries to compute; backward: keys to serve
	int64_t part;                       // backward: offset of this item's partial sum of dQ, -1: there is only one item
} attention_item;
typedef struct {
	int32_t rows, H, K, D;
	float scale;
	dropout drop;
} attention_shape;
size_t attention_work(int length, int H, int K, int D);
void attention_forward(int level, float *out, float *lse, const float *qkv, const attention_item *items, int n,
	const attention_shape *s, float *work);
void attention_delta(int level, float *delta, const float *dout, const float *out, int lo, int hi,
	const attention_shape *s);
void attention_backward(int level, float *dqkv, float *parts, const float *dout, const float *lse, const float *delta,
	const float *qkv, const attention_item *items, int n, const attention_shape *s, float *work);
void attention_combine(int level, float *dqkv, const float *parts, const attention_item *items, int n,
	const attention_shape *s);

// gemm_cpu.c
size_t gemm_work(void);
void gemm(int level, int ta, int tb, int M, int N, int K, const float *A, size_t lda, const float *B, size_t ldb, int add,
	float *C, size_t ldc, float *work);

#endif
