// A fiber: a stack of its own and the switch to it. Switching saves what the calling convention says a call must keep.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "sanitizer.h"

extern "C" void emu_switch(void **save, void *to);

namespace emu {

// Stacks lie STACK bytes apart, each above an inaccessible page. Their tops are staggered, because equal offsets would
// compete for the same few sets of the caches.
constexpr size_t STACK = 256 << 10, GUARD = 4096, STAGGER = 320, COLOURS = 64;

struct Fiber {
	void *sp = nullptr;
	char *bottom = nullptr; // of the usable stack; null: the stack of the OS thread
	size_t size = 0;
	void *tsan = nullptr, *fake = nullptr;
};

// prepare makes the fiber begin in entry at its next switch.
inline void prepare(Fiber *f, unsigned colour, void (*entry)())
{
	EMU_UNPOISON(f->bottom, f->size);
	uintptr_t top = (uintptr_t)f->bottom + f->size - colour % COLOURS * STAGGER;
	top &= ~(uintptr_t)15;
#if defined(__x86_64__)
	void **s = (void **)top;
	*--s = nullptr; // the return address of entry, which never returns: keeps the stack aligned as after a call
	*--s = (void *)entry;
	for (int i = 0; i < 6; i++)
		*--s = nullptr;
	f->sp = s;
#elif defined(__aarch64__)
	void **s = (void **)(top - 160);
	for (int i = 0; i < 20; i++)
		s[i] = nullptr;
	s[11] = (void *)entry;
	f->sp = s;
#else
#error "the emulation has no fiber switch for this processor"
#endif
}

#if defined(EMU_ASAN)
extern __thread Fiber *came_from; // whose bounds ASan tells at the next arrival: only those of the OS thread are news
#endif

// swap leaves from, which goes on here when something swaps back to it, for to.
inline void swap(Fiber *from, Fiber *to)
{
#if defined(EMU_ASAN)
	came_from = from;
	__sanitizer_start_switch_fiber(&from->fake, to->bottom, to->size);
#endif
#if defined(EMU_TSAN)
	__tsan_switch_to_fiber(to->tsan, 1);
#endif
	emu_switch(&from->sp, to->sp);
#if defined(EMU_ASAN)
	__sanitizer_finish_switch_fiber(from->fake, (const void **)&came_from->bottom, &came_from->size);
#endif
}

} // namespace emu
