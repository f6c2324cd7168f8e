// The kernels compiled for the host, by name, with their argument lists deduced from their signatures.
#pragma once
#include <stddef.h>

#include <type_traits>
#include <utility>

namespace emu {

constexpr unsigned MAX_ARGUMENTS = 64;

struct Argument {
	unsigned size, align;
	bool pointer;
};

// Kernel is one kernel. run calls it for the current thread; arguments[i] points to the value of argument i.
struct Kernel {
	const char *name, *file;
	const Argument *arguments;
	unsigned count;
	void (*run)(void *const *arguments);
	Kernel *next;
	double cost; // of a thread in the latest launch, ns
};

extern Kernel *kernels; // all of them, linked
Kernel *find(const char *name);

struct Register {
	explicit Register(Kernel *k)
	{
		k->next = kernels;
		kernels = k;
	}
};

template <auto K> struct Signature;
template <class... A, void (*K)(A...)> struct Signature<K> {
	static constexpr unsigned count = sizeof...(A);
	static_assert(count <= MAX_ARGUMENTS, "too many parameters");
	static constexpr Argument arguments[count + 1] = {
		Argument{(unsigned)sizeof(A), (unsigned)alignof(A), std::is_pointer_v<A>}..., Argument{}};
	template <size_t... I> static void call(void *const *a, std::index_sequence<I...>) { K(*(A *)a[I]...); }
	static void run(void *const *a) { call(a, std::make_index_sequence<count>{}); }
};

} // namespace emu

#define EMU_KERNEL(kernel)                                                                              \
	static emu::Kernel emu_kernel_##kernel = {#kernel, __FILE__, emu::Signature<kernel>::arguments,     \
		emu::Signature<kernel>::count, emu::Signature<kernel>::run, nullptr, 0};                           \
	static emu::Register emu_register_##kernel(&emu_kernel_##kernel);
