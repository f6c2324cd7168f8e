// Accesses to the kernel's own memory, in a file of their own that the sanitizers instrument: they see each of them as one
// of the thread that runs.
#pragma once
#include <stdint.h>

namespace emu {

// copy_words copies bytes, a multiple of 4; without a source it writes zeros. fill_words writes one word over and over.
void copy_words(void *to, const void *from, unsigned bytes);
void fill_words(void *to, unsigned bytes, uint32_t word);

} // namespace emu
