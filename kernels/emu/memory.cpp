#include "memory.h"

namespace emu {

typedef uint32_t __attribute__((may_alias)) word;

void fill_words(void *to, unsigned bytes, uint32_t value)
{
	word *t = (word *)to;
	for (unsigned i = 0; i < bytes / 4; i++)
		t[i] = value;
}

void copy_words(void *to, const void *from, unsigned bytes)
{
	if (!from) {
		fill_words(to, bytes, 0);
		return;
	}
	word *t = (word *)to;
	const word *f = (const word *)from;
	for (unsigned i = 0; i < bytes / 4; i++)
		t[i] = f[i];
}

} // namespace emu
