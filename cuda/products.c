//go:build cuda

#include "products.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_F32 = 0, TYPE_BF16 = 14, COMPUTE_F32 = 68 };
enum { DESC_TRANSPOSE_A = 3, DESC_TRANSPOSE_B = 4, DESC_EPILOGUE = 7, DESC_BIAS = 8, DESC_AUXILIARY = 11, DESC_AUXILIARY_LD = 12,
	DESC_BIAS_TYPE = 26 };
enum { LAYOUT_BATCH = 5, LAYOUT_STRIDE = 6 };
enum { PREFERENCE_WORKSPACE = 1, PREFERENCE_ALIGN_A = 5, PREFERENCE_ALIGN_B = 6, PREFERENCE_ALIGN_C = 7, PREFERENCE_ALIGN_D = 8 };
enum { EPILOGUE_DEFAULT = 1 };
enum { STATUS_ALLOC_FAILED = 3, STATUS_NOT_SUPPORTED = 15 };

struct blaslt *blaslt_open(const char *path, char *text, size_t room) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		const char *why = dlerror();
		snprintf(text, room, "%s", why ? why : path);
		return 0;
	}
	struct blaslt *lt = calloc(1, sizeof *lt);
	struct {
		void *call;
		const char *name;
	} calls[] = {
		{&lt->version, "cublasLtGetVersion"}, {&lt->status_string, "cublasLtGetStatusString"}, {&lt->create, "cublasLtCreate"},
		{&lt->destroy, "cublasLtDestroy"}, {&lt->desc_create, "cublasLtMatmulDescCreate"},
		{&lt->desc_destroy, "cublasLtMatmulDescDestroy"}, {&lt->desc_set, "cublasLtMatmulDescSetAttribute"},
		{&lt->layout_create, "cublasLtMatrixLayoutCreate"}, {&lt->layout_destroy, "cublasLtMatrixLayoutDestroy"},
		{&lt->layout_set, "cublasLtMatrixLayoutSetAttribute"}, {&lt->preference_create, "cublasLtMatmulPreferenceCreate"},
		{&lt->preference_destroy, "cublasLtMatmulPreferenceDestroy"},
		{&lt->preference_set, "cublasLtMatmulPreferenceSetAttribute"}, {&lt->heuristic, "cublasLtMatmulAlgoGetHeuristic"},
		{&lt->algo_check, "cublasLtMatmulAlgoCheck"}, {&lt->matmul, "cublasLtMatmul"},
	};
	for (size_t i = 0; lt && i < sizeof calls / sizeof *calls; i++) {
		void *address = dlsym(library, calls[i].name);
		if (!address) {
			snprintf(text, room, "%s lacks %s", path, calls[i].name);
			free(lt);
			dlclose(library);
			return 0;
		}
		memcpy(calls[i].call, &address, sizeof address);
	}
	if (lt) {
		lt->library = library;
	} else {
		snprintf(text, room, "out of host memory");
		dlclose(library);
	}
	return lt;
}

int blaslt_start(struct blaslt *lt, uint64_t workspace, size_t bytes) {
	lt->workspace = workspace;
	lt->workspace_bytes = bytes;
	return lt->create(&lt->handle);
}

void blaslt_close(struct blaslt *lt) {
	if (lt->handle) lt->destroy(lt->handle);
	dlclose(lt->library);
	free(lt);
}

size_t blaslt_version(struct blaslt *lt) {
	return lt->version();
}

const char *blaslt_status(struct blaslt *lt, int status) {
	return lt->status_string(status);
}

void product_destroy(struct product *p) {
	if (p->desc) p->lt->desc_destroy(p->desc);
	if (p->a) p->lt->layout_destroy(p->a);
	if (p->b) p->lt->layout_destroy(p->b);
	if (p->d) p->lt->layout_destroy(p->d);
	free(p);
}

#define TRY(call) \
	do { \
		int status__ = call; \
		if (status__) return status__; \
	} while (0)

static int describe(struct product *p, const product_shape *s, uint64_t bias, uint64_t auxiliary) {
	struct blaslt *lt = p->lt;
	int32_t ta = s->transpose_a, tb = s->transpose_b, epilogue = s->epilogue, bias_type = s->type_bias;
	TRY(lt->desc_create(&p->desc, COMPUTE_F32, TYPE_F32));
	TRY(lt->desc_set(p->desc, DESC_TRANSPOSE_A, &ta, sizeof ta));
	TRY(lt->desc_set(p->desc, DESC_TRANSPOSE_B, &tb, sizeof tb));
	if (epilogue != EPILOGUE_DEFAULT) TRY(lt->desc_set(p->desc, DESC_EPILOGUE, &epilogue, sizeof epilogue));
	if (bias) {
		TRY(lt->desc_set(p->desc, DESC_BIAS_TYPE, &bias_type, sizeof bias_type));
		TRY(lt->desc_set(p->desc, DESC_BIAS, &bias, sizeof bias));
	}
	if (auxiliary) {
		TRY(lt->desc_set(p->desc, DESC_AUXILIARY, &auxiliary, sizeof auxiliary));
		TRY(lt->desc_set(p->desc, DESC_AUXILIARY_LD, &s->ld_auxiliary, sizeof s->ld_auxiliary));
	}
	TRY(lt->layout_create(&p->a, TYPE_BF16, ta ? s->k : s->m, ta ? s->m : s->k, s->lda));
	TRY(lt->layout_create(&p->b, TYPE_BF16, tb ? s->n : s->k, tb ? s->k : s->n, s->ldb));
	TRY(lt->layout_create(&p->d, s->type_d, s->m, s->n, s->ldd));
	if (s->batch > 1) {
		void *layouts[] = {p->a, p->b, p->d};
		const int64_t *strides[] = {&s->stride_a, &s->stride_b, &s->stride_d};
		for (int i = 0; i < 3; i++) {
			TRY(lt->layout_set(layouts[i], LAYOUT_BATCH, &s->batch, sizeof s->batch));
			TRY(lt->layout_set(layouts[i], LAYOUT_STRIDE, strides[i], sizeof *strides[i]));
		}
	}
	return 0;
}

static int choose(struct product *p, const product_shape *s) {
	struct blaslt *lt = p->lt;
	void *preference = 0;
	uint64_t most = lt->workspace_bytes;
	blaslt_heuristic best;
	int found = 0;
	TRY(lt->preference_create(&preference));
	int status = lt->preference_set(preference, PREFERENCE_WORKSPACE, &most, sizeof most);
	if (!status) status = lt->preference_set(preference, PREFERENCE_ALIGN_A, &s->align_a, sizeof s->align_a);
	if (!status) status = lt->preference_set(preference, PREFERENCE_ALIGN_B, &s->align_b, sizeof s->align_b);
	if (!status) status = lt->preference_set(preference, PREFERENCE_ALIGN_C, &s->align_d, sizeof s->align_d);
	if (!status) status = lt->preference_set(preference, PREFERENCE_ALIGN_D, &s->align_d, sizeof s->align_d);
	if (!status) status = lt->heuristic(lt->handle, p->desc, p->a, p->b, p->d, p->d, preference, 1, &best, &found);
	lt->preference_destroy(preference);
	if (status) return status;
	if (!found) return STATUS_NOT_SUPPORTED;
	TRY(best.state);
	p->algo = best.algo;
	p->waves = best.waves;
	p->workspace = best.workspace;
	return 0;
}

// serves says whether the library can compute the product by the algorithm it has, within the workspace.
static int serves(struct product *p) {
	struct blaslt *lt = p->lt;
	blaslt_heuristic result;
	return !lt->algo_check(lt->handle, p->desc, p->a, p->b, p->d, p->d, &p->algo, &result) && result.workspace <= lt->workspace_bytes;
}

int product_create(struct blaslt *lt, const product_shape *s, uint64_t bias, uint64_t auxiliary, const uint64_t *algo, int check,
	struct product **out) {
	struct product *p = calloc(1, sizeof *p);
	if (!p) return STATUS_ALLOC_FAILED;
	p->lt = lt;
	p->alpha = s->alpha;
	p->beta = s->beta;
	p->has_bias = bias != 0;
	p->has_auxiliary = auxiliary != 0;
	int status = describe(p, s, bias, auxiliary);
	if (!status && algo) memcpy(p->algo.opaque, algo, sizeof p->algo.opaque);
	if (!status && (!algo || (check && !serves(p)))) status = choose(p, s);
	if (status) {
		product_destroy(p);
		return status;
	}
	*out = p;
	return 0;
}

int product_issue(struct product *p, uint64_t a, uint64_t b, uint64_t d, uint64_t bias, uint64_t auxiliary, CUstream s) {
	struct blaslt *lt = p->lt;
	if (p->has_bias) TRY(lt->desc_set(p->desc, DESC_BIAS, &bias, sizeof bias));
	if (p->has_auxiliary) TRY(lt->desc_set(p->desc, DESC_AUXILIARY, &auxiliary, sizeof auxiliary));
	return lt->matmul(lt->handle, p->desc, &p->alpha, (void *)(uintptr_t)a, p->a, (void *)(uintptr_t)b, p->b, &p->beta,
		(void *)(uintptr_t)d, p->d, (void *)(uintptr_t)d, p->d, &p->algo, (void *)(uintptr_t)lt->workspace, lt->workspace_bytes, s);
}
