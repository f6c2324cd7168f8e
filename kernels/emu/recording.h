// Launches written to files by the driver (PALIMPSEST_EMU_RECORD=FOLDER) and run again by replay.cpp in a process of their
// own, where a sanitizer works that Go's runtime does not bear. A file is a Header and then, in this order, the kernel's
// name, its packed arguments, and for each allocation a Block with its Pages.
#pragma once
#include <stdint.h>

namespace recording {

constexpr uint64_t MAGIC = 0x31484e4c55454d50; // "PMEULNH1"
constexpr uint32_t PAGE = 4096;

struct Header {
	uint64_t magic;
	uint32_t grid[3], block[3], shared, name, arguments, blocks; // sizes and numbers of what follows
};

struct Block { // an allocation that the arguments point to; pages that hold nothing but 0xff are left out
	uint64_t base, bytes, pages;
};

struct Page { // followed by PAGE bytes
	uint64_t offset;
};

} // namespace recording
