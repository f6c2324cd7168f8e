//go:build cgo

// Opens OpenBLAS with dlopen. One thread a call: the backend cuts products into blocks of its own.
#include "blas.h"

#include <dlfcn.h>
#include <stdlib.h>

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef void sgemm_function(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
	const float *b, int ldb, float beta, float *c, int ldc);

static sgemm_function *sgemm;
static char *(*config)(void);
static char *(*core)(void);

// force_core names the kernels to use before the library is opened: OpenBLAS 0.3.21 takes AVX2 ones on processors that are
// newer than itself, at half the speed of what AVX-512 gives.
static void force_core(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw") ||
		!__builtin_cpu_supports("avx512vl"))
		return;
	setenv("OPENBLAS_CORETYPE", __builtin_cpu_supports("avx512bf16") ? "Cooperlake" : "SkylakeX", 0);
#endif
}

const char *blas_open(const char *path)
{
	force_core();
	setenv("OPENBLAS_NUM_THREADS", "1", 0); // else it starts threads that this program never uses
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return dlerror();
	sgemm_function *product = (sgemm_function *)dlsym(library, "cblas_sgemm");
	void (*threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
	char *(*get_config)(void) = (char *(*)(void))dlsym(library, "openblas_get_config");
	char *(*get_core)(void) = (char *(*)(void))dlsym(library, "openblas_get_corename");
	if (!product || !threads || !get_config || !get_core) {
		dlclose(library);
		return "the library has no cblas_sgemm, openblas_set_num_threads, openblas_get_config or openblas_get_corename";
	}
	sgemm = product, config = get_config, core = get_core;
	threads(1);
	return NULL;
}

const char *blas_config(void) { return config(); }
const char *blas_core(void) { return core(); }

void blas_sgemm(int transA, int transB, int m, int n, int k, const float *a, int lda, const float *b, int ldb, int add,
	float *c, int ldc)
{
	sgemm(ROW_MAJOR, transA ? TRANSPOSED : PLAIN, transB ? TRANSPOSED : PLAIN, m, n, k, 1.0f, a, lda, b, ldb,
		add ? 1.0f : 0.0f, c, ldc);
}
