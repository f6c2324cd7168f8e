// Modules, functions and launches. Of a module's PTX the version, the target and every entry's parameters and launch bounds
// are read and compared with the kernel of that name compiled for the host; what runs is the latter.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "driver.h"

namespace driver {

namespace {

struct Statistic {
	uint64_t launches = 0, threads = 0;
	double ms = 0;
};
std::map<std::string, Statistic> statistics;

// --- PTX

struct Entry {
	std::string name;
	std::vector<unsigned> sizes;
	unsigned max_threads = emu::MAX_THREADS;
};

// parameter_size reads "[.align n] .type name" or ".b8 name[bytes]".
unsigned parameter_size(const std::string &text)
{
	unsigned bits = 0;
	char kind[2];
	for (size_t dot = text.find('.'); dot != text.npos; dot = text.find('.', dot + 1))
		if (sscanf(&text[dot + 1], "%1[usbf]%u", kind, &bits) == 2)
			break;
	size_t bracket = text.find('[');
	return bits / 8 * (bracket == text.npos ? 1 : (unsigned)atoi(&text[bracket + 1]));
}

bool parse_entry(const char *at, Entry *e, const char **rest)
{
	const char *open = strchr(at, '('), *close = open ? strchr(open, ')') : nullptr;
	const char *body = close ? strchr(close, '{') : nullptr;
	if (!body)
		return false;
	e->name.assign(at, strcspn(at, "( \t\r\n"));
	std::string parameters(open + 1, close), directives(close + 1, body);
	for (size_t i = parameters.find(".param"); i != parameters.npos; i = parameters.find(".param", i + 1)) {
		size_t end = std::min(parameters.find(',', i), parameters.size());
		e->sizes.push_back(parameter_size(parameters.substr(i + 6, end - i - 6)));
	}
	unsigned x = 1, y = 1, z = 1;
	size_t bound = directives.find("ntid");
	if (bound != directives.npos && sscanf(&directives[bound + 4], " %u , %u , %u", &x, &y, &z) >= 1)
		e->max_threads = x * y * z;
	*rest = body;
	return true;
}

CUresult check_target(const char *text)
{
	const char *version = strstr(text, ".version"), *target = strstr(text, ".target sm_");
	int major = 0, minor = 0, sm = 0, length = 0;
	if (!version || sscanf(version, ".version %d.%d", &major, &minor) != 2 || !target ||
		sscanf(target, ".target sm_%d%n", &sm, &length) != 1)
		return refuse(CUDA_ERROR_INVALID_PTX, "neither .version nor .target: this is not PTX");
	bool exact = target[length] == 'a'; // of this very architecture
	if (sm > settings.capability || (exact && sm != settings.capability))
		return refuse(CUDA_ERROR_INVALID_PTX, "PTX for sm_%d%s, the device is sm_%d", sm, exact ? "a" : "", settings.capability);
	if (major > 8)
		return refuse(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "PTX %d.%d, this driver reads up to 8", major, minor);
	return CUDA_SUCCESS;
}

CUresult fits(const Entry &e, const emu::Kernel &k)
{
	if (e.sizes.size() != k.count)
		return refuse(CUDA_ERROR_INVALID_SOURCE,
			"%s: the PTX has %zu parameters, the kernel compiled for the host %u; hint: make ptx",
			e.name.c_str(), e.sizes.size(), k.count);
	for (size_t i = 0; i < e.sizes.size(); i++)
		if (e.sizes[i] != k.arguments[i].size)
			return refuse(CUDA_ERROR_INVALID_SOURCE,
				"%s: parameter %zu has %u bytes in the PTX and %u in the kernel compiled for the host; hint: make ptx",
				e.name.c_str(), i, e.sizes[i], k.arguments[i].size);
	return CUDA_SUCCESS;
}

CUresult load(CUmodule *out, const char *text)
{
	if (!text || !out)
		return refuse(CUDA_ERROR_INVALID_VALUE, "a null pointer");
	if (CUresult r = forbid_in_capture())
		return r;
	if (!memcmp(text, "\177ELF", 4) || !memcmp(text, "\x50\xed\x55\xba", 4))
		return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "a cubin or fatbin: this driver takes PTX only");
	if (CUresult r = check_target(text))
		return r;
	Module *m = new Module();
	for (const char *at = text; (at = strstr(at, ".entry "));) {
		Entry e;
		if (!parse_entry(at + 7, &e, &at)) {
			m->alive = false;
			return refuse(CUDA_ERROR_INVALID_PTX, "an entry without a body: %.40s", at);
		}
		Function *f = new Function();
		f->module = m;
		f->name = e.name;
		f->max_threads = e.max_threads;
		f->kernel = emu::find(e.name.c_str());
		m->functions[e.name] = f;
		CUresult r = f->kernel ? fits(e, *f->kernel) : CUDA_SUCCESS;
		if (r) {
			m->alive = false;
			return r;
		}
	}
	*out = (CUmodule)m;
	return CUDA_SUCCESS;
}

// --- launches

struct Launch {
	Function *function;
	dim3 grid, block;
	unsigned shared;
	std::vector<char> arguments; // packed as the device has them
};

// offsets returns where each argument lies, and the size of all.
std::vector<size_t> offsets(const emu::Kernel &k)
{
	std::vector<size_t> at;
	size_t end = 0;
	for (unsigned i = 0; i < k.count; i++) {
		end = round_up(end, k.arguments[i].align);
		at.push_back(end);
		end += k.arguments[i].size;
	}
	at.push_back(end);
	return at;
}

CUresult code_of(emu::Fault f)
{
	switch (f) {
	case emu::Fault::none:
		return CUDA_SUCCESS;
	case emu::Fault::address:
	case emu::Fault::shared_memory:
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	case emu::Fault::alignment:
		return CUDA_ERROR_MISALIGNED_ADDRESS;
	case emu::Fault::deadlock:
		return CUDA_ERROR_LAUNCH_TIMEOUT;
	default:
		return CUDA_ERROR_LAUNCH_FAILED;
	}
}

CUresult run(Launch &l)
{
	static uint64_t launches;
	emu::Kernel *k = l.function->kernel;
	std::vector<size_t> at = offsets(*k);
	void *arguments[emu::MAX_ARGUMENTS];
	std::vector<Allocation *> given;
	for (unsigned i = 0; i < k->count; i++) {
		arguments[i] = &l.arguments[at[i]];
		Address p;
		if (!k->arguments[i].pointer || (memcpy(&p, arguments[i], sizeof p), !p))
			continue;
		Allocation *a = nearest(p);
		if (!in_device(p) || !a || !a->live || a->context != context || p < a->at || p > a->at + a->bytes)
			return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s, argument %u: %s", k->name, i, describe(p).c_str());
		if (std::find(given.begin(), given.end(), a) == given.end())
			given.push_back(a);
	}
	record_launch(k, l.grid, l.block, l.shared, l.arguments);
	emu::Options o;
	o.seed = settings.seed + ++launches;
	o.order = settings.when == When::random     ? emu::Order::random
			  : settings.when == When::reversed ? emu::Order::reversed
												: emu::Order::in_order;
	o.copies = settings.copies;
	o.workers = settings.workers;
	double began = settings.statistics ? milliseconds() : 0;
	emu::Result result = emu::launch(k, l.grid, l.block, l.shared, arguments, o);
	open_device(true); // a signal handler that was left for good closed it
	if (settings.statistics) {
		Statistic &s = statistics[k->name];
		s.launches++;
		s.threads += (uint64_t)l.grid.x * l.grid.y * l.grid.z * l.block.x * l.block.y * l.block.z;
		s.ms += milliseconds() - began;
	}
	if (result.fault != emu::Fault::none)
		return refuse(code_of(result.fault), "%s", result.message);
	for (Allocation *a : given)
		if (!ends_intact(*a))
			return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s wrote close to, but outside, allocation #%d (%zu bytes)", k->name,
				a->number, a->bytes);
	return CUDA_SUCCESS;
}

// readable copies bytes of host memory, or says that they cannot be read.
bool readable(void *to, const void *from, size_t bytes)
{
	iovec a = {to, bytes}, b = {(void *)from, bytes};
	ssize_t n = process_vm_readv(getpid(), &a, 1, &b, 1, 0);
	if (n < 0 && errno != EFAULT) { // the call is not allowed here
		memcpy(to, from, bytes);
		return true;
	}
	return n == (ssize_t)bytes;
}

// unpack reads the one form of arguments that says how many bytes there are.
CUresult unpack(Launch &l, const std::vector<size_t> &at, void **extra)
{
	const char *buffer = nullptr;
	size_t bytes = 0;
	for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
		if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
			buffer = (const char *)extra[1];
		else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
			bytes = *(const size_t *)extra[1];
	}
	size_t need = at.back();
	if (bytes < need || bytes >= need + 8)
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s takes %zu bytes of arguments, the buffer has %zu", l.function->name.c_str(),
			need, bytes);
	l.arguments.assign(buffer, buffer + need);
	return CUDA_SUCCESS;
}

CUresult gather(Launch &l, const std::vector<size_t> &at, void **parameters)
{
	const emu::Kernel &k = *l.function->kernel;
	std::vector<void *> p(k.count);
	if (k.count && (!parameters || !readable(p.data(), parameters, k.count * sizeof(void *))))
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s takes %u arguments, their list is not readable", k.name, k.count);
	l.arguments.resize(at.back());
	for (unsigned i = 0; i < k.count; i++)
		if (!p[i] || !readable(&l.arguments[at[i]], p[i], k.arguments[i].size))
			return refuse(CUDA_ERROR_INVALID_VALUE, "%s takes %u arguments, number %u is not readable (%p)", k.name, k.count, i,
				p[i]);
	return CUDA_SUCCESS;
}

} // namespace

CUresult launch_work(Function *f, dim3 grid, dim3 block, unsigned shared, void **parameters, void **extra, Work *out)
{
	const char *name = f->name.c_str();
	uint64_t threads = (uint64_t)block.x * block.y * block.z;
	if (!grid.x || !grid.y || !grid.z || !threads)
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s: grid (%u,%u,%u), block (%u,%u,%u): no dimension may be 0", name, grid.x,
			grid.y, grid.z, block.x, block.y, block.z);
	if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s: grid (%u,%u,%u) is over the limits", name, grid.x, grid.y, grid.z);
	if (threads > emu::MAX_THREADS || block.z > 64)
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %zu threads a block", name, (size_t)threads);
	if (threads > f->max_threads)
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %zu threads a block, its launch bound is %u", name, (size_t)threads,
			f->max_threads);
	if (shared > (unsigned)f->shared)
		return refuse(CUDA_ERROR_INVALID_VALUE,
			"%s: %u bytes of dynamic shared memory, allowed are %d (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)", name,
			shared, f->shared);
	Launch l{f, grid, block, shared, {}};
	std::vector<size_t> at = offsets(*f->kernel);
	if (CUresult r = extra ? unpack(l, at, extra) : gather(l, at, parameters))
		return r;
	*out = [l = std::move(l)]() mutable { return run(l); };
	return CUDA_SUCCESS;
}

void print_statistics()
{
	for (auto &[name, s] : statistics)
		fprintf(stderr, "emulated driver: %-32s %8zu launches %12zu threads %10.3f ms %8.1f ns a thread\n", name.c_str(),
			(size_t)s.launches, (size_t)s.threads, s.ms, s.ms * 1e6 / (double)s.threads);
}

} // namespace driver

using namespace driver;

EXPORT cuModuleLoadData(CUmodule *out, const void *text)
{
	CALL;
	return load(out, (const char *)text);
}

EXPORT cuModuleLoadDataEx(CUmodule *out, const void *text, unsigned, CUjit_option *, void **)
{
	CALL;
	return load(out, (const char *)text);
}

EXPORT cuModuleUnload(CUmodule h)
{
	CALL;
	GET(Module, m, h, module);
	if (CUresult r = finish_all())
		return r;
	m->alive = false;
	for (auto &f : m->functions)
		f.second->alive = false;
	return CUDA_SUCCESS;
}

EXPORT cuModuleGetFunction(CUfunction *out, CUmodule h, const char *name)
{
	CALL;
	GET(Module, m, h, module);
	auto found = m->functions.find(name);
	if (found == m->functions.end())
		return refuse(CUDA_ERROR_NOT_FOUND, "the PTX has no entry %s", name);
	if (!found->second->kernel)
		return refuse(CUDA_ERROR_NOT_FOUND, "the PTX has an entry %s, but no EMU_KERNEL(%s) was compiled into this driver", name,
			name);
	*out = (CUfunction)found->second;
	return CUDA_SUCCESS;
}

// cuModuleGetLoadingMode is younger than the header: 1 is eager.
EXPORT cuModuleGetLoadingMode(int *mode)
{
	*mode = 1;
	return CUDA_SUCCESS;
}

EXPORT cuFuncGetModule(CUmodule *out, CUfunction h)
{
	CALL;
	GET(Function, f, h, function);
	*out = (CUmodule)f->module;
	return CUDA_SUCCESS;
}

EXPORT cuFuncSetAttribute(CUfunction h, CUfunction_attribute attribute, int value)
{
	CALL;
	GET(Function, f, h, function);
	if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
		return CUDA_SUCCESS;
	if (value < 0 || value > shared_opt_in())
		return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %d bytes of shared memory, the device has %d", f->name.c_str(), value,
			shared_opt_in());
	f->shared = value;
	return CUDA_SUCCESS;
}

EXPORT cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction h)
{
	CALL;
	GET(Function, f, h, function);
	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = (int)f->max_threads;
		break;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = f->shared;
		break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*value = 64;
		break;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = settings.capability;
		break;
	default:
		*value = 0;
	}
	return CUDA_SUCCESS;
}

EXPORT cuFuncSetCacheConfig(CUfunction h, CUfunc_cache)
{
	CALL;
	GET(Function, f, h, function);
	return CUDA_SUCCESS;
}

EXPORT cuFuncGetParamInfo(CUfunction h, size_t i, size_t *offset, size_t *size)
{
	CALL;
	GET(Function, f, h, function);
	if (i >= f->kernel->count)
		return CUDA_ERROR_INVALID_VALUE; // how a caller finds the end
	*offset = offsets(*f->kernel)[i];
	*size = f->kernel->arguments[i].size;
	return CUDA_SUCCESS;
}

EXPORT cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction h, int threads, size_t shared)
{
	CALL;
	GET(Function, f, h, function);
	*n = threads <= 0 ? 0 : std::min(2048 / threads, (int)(167936 / (shared + 1024)));
	return CUDA_SUCCESS;
}

EXPORT cuLaunchKernel(CUfunction h, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
	unsigned shared, CUstream sh, void **parameters, void **extra)
{
	CALL;
	GET(Function, f, h, function);
	GET_STREAM(s, sh);
	Work work;
	CUresult r = launch_work(f, dim3(gx, gy, gz), dim3(bx, by, bz), shared, parameters, extra, &work);
	return r ? r : enqueue(s, std::move(work), nullptr, 0, {Does::launch, f});
}
