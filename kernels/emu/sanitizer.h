// What the sanitizers must be told of fibers and of poisoned memory; nothing without them. The engine itself is compiled
// without instrumentation (its state is shared by all fibers on purpose), so the Makefile says which one is in use.
#pragma once
#if defined(EMU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMU_POISON(p, n) __asan_poison_memory_region((const void *)(p), n)
#define EMU_UNPOISON(p, n) __asan_unpoison_memory_region((const void *)(p), n)
#else
#define EMU_POISON(p, n) ((void)0)
#define EMU_UNPOISON(p, n) ((void)0)
#endif
#if defined(EMU_TSAN)
extern "C" {
void __tsan_acquire(void *);
void __tsan_release(void *);
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *);
void __tsan_switch_to_fiber(void *, unsigned flags); // flags 1: the switch orders nothing
}
#define EMU_ACQUIRE(p) __tsan_acquire((void *)(p))
#define EMU_RELEASE(p) __tsan_release((void *)(p))
#else
#define EMU_ACQUIRE(p) ((void)(p))
#define EMU_RELEASE(p) ((void)(p))
#endif
