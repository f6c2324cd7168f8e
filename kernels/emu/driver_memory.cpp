// Device memory: a reserved range of addresses, each used once, so that a stale pointer never meets a newer allocation. An
// allocation ends before an inaccessible page, is filled with 0xff (NaN) and has marks around it that launches check.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "driver.h"
#include "sanitizer.h"

namespace driver {

namespace {

#if defined(EMU_TSAN) // whose shadow memory leaves less room
constexpr size_t RANGE = (size_t)1 << 36;
#else
constexpr size_t RANGE = (size_t)1 << 40;
#endif
constexpr size_t PAGE = 4096, GAP = 16 * PAGE, ALIGN = 256;
constexpr unsigned char MARK = 0xa5;

Address range_begin, next_free;
std::map<Address, Allocation> allocations; // by base
std::map<Address, size_t> pinned;
size_t used;
int numbers, key = -1;

bool is_pinned(Address p, size_t bytes)
{
	auto i = pinned.upper_bound(p);
	return i != pinned.begin() && (--i, p + bytes <= i->first + i->second);
}

// nan_pages maps pages of 0xff at base: copies on write of one small file, so that large allocations cost nothing at first.
bool nan_pages(Address base, size_t bytes)
{
	constexpr size_t CHUNK = 4 << 20;
	static int file = [] {
		int f = memfd_create("emulated device memory", 0);
		std::vector<char> ones(CHUNK, (char)0xff);
		return f >= 0 && write(f, ones.data(), CHUNK) == (ssize_t)CHUNK ? f : -1;
	}();
	for (size_t at = 0; at < bytes; at += CHUNK)
		if (file < 0 || mmap((void *)(base + at), std::min(CHUNK, bytes - at), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, 0) == MAP_FAILED)
			return false;
	return true;
}

CUresult allocate(CUdeviceptr *p, size_t bytes)
{
	if (!bytes)
		return refuse(CUDA_ERROR_INVALID_VALUE, "0 bytes");
	if (bytes > settings.memory - used)
		return refuse(CUDA_ERROR_OUT_OF_MEMORY, "%zu bytes, while %zu of %zu are in use (PALIMPSEST_EMU_MEM, MiB)", bytes, used,
			settings.memory);
	size_t room = round_up(bytes, ALIGN), mapped = round_up(room, PAGE);
	Address base = next_free;
	if (base + mapped + GAP > range_begin + RANGE)
		return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the range of device addresses is used up");
	next_free += mapped + GAP;
	if (!nan_pages(base, mapped) || (key > 0 && pkey_mprotect((void *)base, mapped, PROT_READ | PROT_WRITE, key)))
		return refuse(CUDA_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
	Allocation a{base + mapped - room, base, bytes, mapped, ++numbers, true, context};
	EMU_UNPOISON(base, mapped);
	memset((void *)base, MARK, a.at - base);
	memset((void *)(a.at + bytes), MARK, room - bytes);
	EMU_POISON(base, mapped);
	EMU_UNPOISON(a.at, bytes);
	allocations[base] = a;
	used += bytes;
	*p = a.at;
	return CUDA_SUCCESS;
}

void release(Allocation &a)
{
	a.live = false;
	used -= a.bytes;
	mmap((void *)a.base, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

// within checks that bytes at a lie in one live allocation of this context.
CUresult within(Address a, size_t bytes, const char *what, int code = CUDA_ERROR_INVALID_VALUE)
{
	Allocation *x = nearest(a);
	bool inside = in_device(a) && x && x->live && a >= x->at && a <= x->at + x->bytes;
	if (inside && x->context == context && bytes <= x->at + x->bytes - a)
		return CUDA_SUCCESS;
	if (inside && x->context != context)
		return refuse(code, "%s: allocation #%d belongs to another context", what, x->number);
	if (inside)
		return refuse(code, "%s: %zu bytes are %zu too many: %s", what, bytes, a + bytes - x->at - x->bytes,
			describe(a).c_str());
	return refuse(code, "%s: %s", what, describe(a).c_str());
}

enum class Place { device, host, by_address };

CUresult copy(Place to_place, Address to, Place from_place, Address from, size_t bytes, Stream *s, bool wait)
{
	if (!bytes)
		return CUDA_SUCCESS;
	if (to_place == Place::by_address)
		to_place = in_device(to) ? Place::device : Place::host;
	if (from_place == Place::by_address)
		from_place = in_device(from) ? Place::device : Place::host;
	bool to_device = to_place == Place::device, from_device = from_place == Place::device;
	if (!to_device && (!to || in_device(to)))
		return refuse(CUDA_ERROR_INVALID_VALUE, "target 0x%zx is not host memory", to);
	if (!from_device && (!from || in_device(from)))
		return refuse(CUDA_ERROR_INVALID_VALUE, "source 0x%zx is not host memory", from);
	CUresult r = to_device ? within(to, bytes, "target") : CUDA_SUCCESS;
	if (!r && from_device)
		r = within(from, bytes, "source");
	if (r)
		return r;

	// Of a pageable source the driver takes a copy before it returns; for a pageable target it waits.
	bool pageable = (!to_device && !is_pinned(to, bytes)) || (!from_device && !is_pinned(from, bytes));
	std::shared_ptr<std::vector<char>> staged;
	if (pageable && !from_device && !wait && !s->capture)
		staged = std::make_shared<std::vector<char>>((char *)from, (char *)from + bytes);
	Work work = [=] {
		CUresult late = to_device ? within(to, bytes, "target, when it ran", CUDA_ERROR_ILLEGAL_ADDRESS) : CUDA_SUCCESS;
		if (!late && from_device)
			late = within(from, bytes, "source, when it ran", CUDA_ERROR_ILLEGAL_ADDRESS);
		if (!late)
			memmove((void *)to, staged ? staged->data() : (void *)from, bytes);
		return late;
	};
	r = enqueue(s, std::move(work), nullptr, 0, {to_device && from_device ? Does::copy : Does::other});
	if (!r && (wait || (pageable && !to_device && !s->capture)))
		r = finish(s);
	return r;
}

CUresult fill(Address to, uint32_t value, size_t width, size_t n, Stream *s)
{
	if (!n)
		return CUDA_SUCCESS;
	Work work;
	CUresult r = fill_work(to, value, width, n, &work);
	return r ? r : enqueue(s, std::move(work), nullptr, 0, {Does::fill});
}

// --- accesses that are none: a kernel's ends its launch; the host's is told and goes to whoever handled it before

#if !defined(EMU_ASAN) && !defined(EMU_TSAN)
struct sigaction before[2];

void on_fault(int number, siginfo_t *info, void *machine)
{
	Address a = (Address)info->si_addr;
	if (emu::in_kernel())
		emu::stop_at_address(describe(a).c_str());
	if (in_device(a))
		fprintf(stderr, "emulated driver: host code touched device memory: %s\n", describe(a).c_str());
	struct sigaction &old = before[number == SIGBUS];
	if (old.sa_flags & SA_SIGINFO)
		old.sa_sigaction(number, info, machine);
	else
		sigaction(number, &old, nullptr); // the access is repeated under it
}
#endif

} // namespace

CUresult fill_work(Address to, uint32_t value, size_t width, size_t n, Work *out)
{
	if (to % width)
		return refuse(CUDA_ERROR_INVALID_VALUE, "0x%zx is not a multiple of %zu", to, width);
	if (CUresult r = within(to, n * width, "target"))
		return r;
	*out = [=] {
		if (CUresult r = within(to, n * width, "target, when it ran", CUDA_ERROR_ILLEGAL_ADDRESS))
			return r;
		if (width == 1)
			memset((void *)to, (int)value, n);
		else if (width == 2)
			std::fill_n((uint16_t *)to, n, (uint16_t)value);
		else
			std::fill_n((uint32_t *)to, n, value);
		return CUDA_SUCCESS;
	};
	return CUDA_SUCCESS;
}

CUresult copy_work(Address to, Address from, size_t bytes, Work *out)
{
	CUresult r = within(to, bytes, "target");
	if (!r)
		r = within(from, bytes, "source");
	if (r)
		return r;
	*out = [=] {
		CUresult late = within(to, bytes, "target, when it ran", CUDA_ERROR_ILLEGAL_ADDRESS);
		if (!late)
			late = within(from, bytes, "source, when it ran", CUDA_ERROR_ILLEGAL_ADDRESS);
		if (!late)
			memmove((void *)to, (void *)from, bytes);
		return late;
	};
	return CUDA_SUCCESS;
}

bool charge(size_t bytes)
{
	if (bytes > settings.memory - used)
		return false;
	used += bytes;
	return true;
}

void discharge(size_t bytes) { used -= bytes; }

CUresult reserve_range()
{
	void *wish = nullptr;
#if !defined(EMU_TSAN) && !defined(EMU_ASAN)
	wish = (void *)0x200000000000;
#endif
	void *p = mmap(wish, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return refuse(CUDA_ERROR_OUT_OF_MEMORY, "no range of addresses");
	range_begin = (Address)p;
	next_free = range_begin + GAP;
	key = pkey_alloc(0, PKEY_DISABLE_ACCESS); // -1 where the processor has none: the host's own accesses go unnoticed
	emu::before_work = [] { open_device(true); };
	return CUDA_SUCCESS;
}

void open_device(bool on)
{
	if (key > 0)
		pkey_set(key, on ? 0 : PKEY_DISABLE_ACCESS);
}

void catch_faults()
{
#if !defined(EMU_ASAN) && !defined(EMU_TSAN)
	struct sigaction s = {};
	s.sa_sigaction = on_fault;
	s.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; // a kernel's fault is left without returning from the handler
	sigaction(SIGSEGV, &s, &before[0]);
	sigaction(SIGBUS, &s, &before[1]);
#endif
}

bool in_device(Address a) { return range_begin && a >= range_begin && a < range_begin + RANGE; }

Allocation *nearest(Address a)
{
	auto i = allocations.upper_bound(a);
	return i == allocations.begin() ? nullptr : &(--i)->second;
}

std::string describe(Address a)
{
	char text[240];
	Allocation *x = nearest(a);
	const char *freed = x && !x->live ? "the freed " : "";
	if (!in_device(a))
		snprintf(text, sizeof text, "0x%zx is no device address", a);
	else if (!x)
		snprintf(text, sizeof text, "0x%zx lies before the first allocation", a);
	else if (a < x->at)
		snprintf(text, sizeof text, "0x%zx is %zu bytes before %sallocation #%d (%zu bytes)", a, x->at - a, freed, x->number,
			x->bytes);
	else if (a < x->at + x->bytes)
		snprintf(text, sizeof text, "0x%zx is byte %zu of %sallocation #%d (%zu bytes)", a, a - x->at, freed, x->number,
			x->bytes);
	else
		snprintf(text, sizeof text, "0x%zx is %zu bytes past the end of %sallocation #%d (%zu bytes)", a,
			a - x->at - x->bytes, freed, x->number, x->bytes);
	return text;
}

bool ends_intact(const Allocation &a)
{
#if !defined(EMU_ASAN)
	for (Address q = std::max(a.base, a.at - ALIGN); q < a.at; q++)
		if (*(unsigned char *)q != MARK)
			return false;
	for (Address q = a.at + a.bytes; q < a.base + a.mapped; q++)
		if (*(unsigned char *)q != MARK)
			return false;
#endif
	return true;
}

void release_memory(Context *c)
{
	size_t n = 0, bytes = 0;
	for (auto &a : allocations)
		if (a.second.live && a.second.context == c) {
			n++;
			bytes += a.second.bytes;
			release(a.second);
		}
	if (settings.statistics) {
		fprintf(stderr, "emulated driver: a context ends, with %zu allocations (%zu bytes) not freed\n", n, bytes);
		print_statistics();
	}
}

} // namespace driver

using namespace driver;

EXPORT cuMemGetInfo(size_t *free, size_t *total)
{
	CALL;
	*free = settings.memory - used;
	*total = settings.memory;
	return CUDA_SUCCESS;
}

EXPORT cuMemAlloc(CUdeviceptr *p, size_t bytes)
{
	CALL;
	CUresult r = forbid_in_capture();
	return r ? r : allocate(p, bytes);
}

EXPORT cuMemFree(CUdeviceptr p)
{
	CALL;
	if (!p)
		return CUDA_SUCCESS;
	Allocation *a = nearest(p);
	if (!a || !a->live || a->at != p || a->context != context)
		return refuse(CUDA_ERROR_INVALID_VALUE, "not the start of a live allocation: %s", describe(p).c_str());
	if (CUresult r = finish_all())
		return r;
	bool intact = ends_intact(*a);
	release(*a);
	if (!intact)
		return context->sticky = refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "allocation #%d was written outside its ends", a->number);
	return CUDA_SUCCESS;
}

EXPORT cuMemGetAddressRange(CUdeviceptr *base, size_t *bytes, CUdeviceptr p)
{
	CALL;
	if (CUresult r = within(p, 1, "address", CUDA_ERROR_NOT_FOUND))
		return r;
	*base = nearest(p)->at;
	*bytes = nearest(p)->bytes;
	return CUDA_SUCCESS;
}

// --- pinned host memory

EXPORT cuMemHostAlloc(void **p, size_t bytes, unsigned)
{
	CALL;
	if (CUresult r = forbid_in_capture())
		return r;
	if (!bytes)
		return refuse(CUDA_ERROR_INVALID_VALUE, "0 bytes");
	void *at = mmap(nullptr, round_up(bytes, PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return refuse(CUDA_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
	pinned[(Address)at] = bytes;
	*p = at;
	return CUDA_SUCCESS;
}

EXPORT cuMemAllocHost(void **p, size_t bytes) { return cuMemHostAlloc(p, bytes, 0); }

EXPORT cuMemFreeHost(void *p)
{
	CALL;
	auto i = pinned.find((Address)p);
	if (i == pinned.end())
		return refuse(CUDA_ERROR_INVALID_VALUE, "%p is not pinned memory", p);
	CUresult r = finish_all();
	munmap(p, round_up(i->second, PAGE));
	pinned.erase(i);
	return r;
}

EXPORT cuMemHostRegister(void *p, size_t bytes, unsigned)
{
	CALL;
	if (is_pinned((Address)p, 1))
		return refuse(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "%p", p);
	pinned[(Address)p] = bytes;
	return CUDA_SUCCESS;
}

EXPORT cuMemHostUnregister(void *p)
{
	CALL;
	if (!pinned.erase((Address)p))
		return refuse(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "%p", p);
	return CUDA_SUCCESS;
}

// --- copies: a call that waits and one that does not, for each pair of places

#define COPIES(wait_name, queue_name, to_place, to_type, from_place, from_type)                                       \
	EXPORT wait_name(to_type to, from_type from, size_t bytes)                                                        \
	{                                                                                                                 \
		CALL;                                                                                                         \
		return copy(Place::to_place, (Address)to, Place::from_place, (Address)from, bytes, context->null, true);      \
	}                                                                                                                 \
	EXPORT queue_name(to_type to, from_type from, size_t bytes, CUstream h)                                           \
	{                                                                                                                 \
		CALL;                                                                                                         \
		GET_STREAM(s, h);                                                                                             \
		return copy(Place::to_place, (Address)to, Place::from_place, (Address)from, bytes, s, false);                 \
	}
COPIES(cuMemcpyHtoD, cuMemcpyHtoDAsync, device, CUdeviceptr, host, const void *)
COPIES(cuMemcpyDtoH, cuMemcpyDtoHAsync, host, void *, device, CUdeviceptr)
COPIES(cuMemcpyDtoD, cuMemcpyDtoDAsync, device, CUdeviceptr, device, CUdeviceptr)
COPIES(cuMemcpy, cuMemcpyAsync, by_address, CUdeviceptr, by_address, CUdeviceptr)

#define FILLS(wait_name, queue_name, type)                        \
	EXPORT wait_name(CUdeviceptr to, type value, size_t n)        \
	{                                                             \
		CALL;                                                     \
		return fill(to, value, sizeof(type), n, context->null);   \
	}                                                             \
	EXPORT queue_name(CUdeviceptr to, type value, size_t n, CUstream h) \
	{                                                             \
		CALL;                                                     \
		GET_STREAM(s, h);                                         \
		return fill(to, value, sizeof(type), n, s);               \
	}
FILLS(cuMemsetD8, cuMemsetD8Async, unsigned char)
FILLS(cuMemsetD16, cuMemsetD16Async, unsigned short)
FILLS(cuMemsetD32, cuMemsetD32Async, unsigned)
