// Runs recorded launches again: replay FILE... One line for each kernel, and one for those that no file held. Every
// launch runs twice, with eager copies in order and with lazy ones in random order. The exit code is 1 where a launch
// fails, and the sanitizer's own where it reports something.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>
#include <string>
#include <vector>

#include "launch.h"
#include "recording.h"

namespace {

struct Mapped {
	uint64_t was, bytes;
	char *at;
};

struct Launch {
	recording::Header header;
	std::string name;
	std::vector<char> arguments;
	std::vector<Mapped> memory;
	std::vector<std::pair<char *, std::vector<char>>> pages;
};

[[noreturn]] void stop(const char *path, const char *why)
{
	fprintf(stderr, "replay: %s: %s\n", path, why);
	exit(1);
}

void get(FILE *f, const char *path, void *to, size_t bytes)
{
	if (fread(to, 1, bytes, f) != bytes)
		stop(path, "the file is cut short");
}

// load reads a launch and maps its memory, wherever there is room.
Launch load(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		stop(path, "cannot be opened");
	Launch l;
	get(f, path, &l.header, sizeof l.header);
	if (l.header.magic != recording::MAGIC || l.header.name > 200 || l.header.arguments > 4096 || l.header.blocks > 256)
		stop(path, "this is no recorded launch");
	l.name.resize(l.header.name);
	l.arguments.resize(l.header.arguments);
	get(f, path, &l.name[0], l.name.size());
	get(f, path, l.arguments.data(), l.arguments.size());
	for (uint32_t i = 0; i < l.header.blocks; i++) {
		recording::Block b;
		get(f, path, &b, sizeof b);
		void *p = mmap(nullptr, b.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			stop(path, "no memory");
		l.memory.push_back({b.base, b.bytes, (char *)p});
		for (uint64_t n = 0; n < b.pages; n++) {
			recording::Page page;
			get(f, path, &page, sizeof page);
			if (page.offset % recording::PAGE || page.offset >= b.bytes)
				stop(path, "a page outside of its allocation");
			l.pages.emplace_back((char *)p + page.offset, std::vector<char>(recording::PAGE));
			get(f, path, l.pages.back().second.data(), recording::PAGE);
		}
	}
	fclose(f);
	for (size_t at = 0; at + 8 <= l.arguments.size(); at += 8) { // pointers, also those inside structs
		uint64_t p;
		memcpy(&p, &l.arguments[at], 8);
		for (const Mapped &m : l.memory)
			if (p >= m.was && p <= m.was + m.bytes) {
				p = p - m.was + (uint64_t)m.at;
				memcpy(&l.arguments[at], &p, 8);
				break;
			}
	}
	return l;
}

bool run(Launch &l, emu::Kernel *k, const emu::Options &o)
{
	for (auto &page : l.pages)
		memcpy(page.first, page.second.data(), page.second.size());
	void *arguments[emu::MAX_ARGUMENTS];
	size_t at = 0;
	for (unsigned i = 0; i < k->count; i++) {
		at = (at + k->arguments[i].align - 1) / k->arguments[i].align * k->arguments[i].align;
		arguments[i] = &l.arguments[at];
		at += k->arguments[i].size;
	}
	const recording::Header &h = l.header;
	emu::Result r = emu::launch(k, dim3(h.grid[0], h.grid[1], h.grid[2]), dim3(h.block[0], h.block[1], h.block[2]), h.shared,
		arguments, o);
	if (r.fault != emu::Fault::none)
		printf("FAIL: %s\n", r.message);
	return r.fault == emu::Fault::none;
}

} // namespace

int main(int n, char **paths)
{
	std::map<std::string, int> count;
	bool ok = true;
	for (int i = 1; i < n; i++) {
		Launch l = load(paths[i]);
		emu::Kernel *k = emu::find(l.name.c_str());
		if (!k)
			stop(paths[i], "its kernel is not here");
		ok &= run(l, k, {1, emu::Order::in_order, emu::Copies::eager, 2});
		ok &= run(l, k, {2, emu::Order::random, emu::Copies::lazy, 2});
		count[l.name]++;
		for (const Mapped &m : l.memory)
			munmap(m.at, m.bytes);
	}
	for (auto &[name, launches] : count)
		printf("%-40s %d launches\n", name.c_str(), launches);
	for (const emu::Kernel *k = emu::kernels; k; k = k->next)
		if (!count.count(k->name))
			printf("%-40s NOT RUN: no test recorded a small launch of it\n", k->name);
	return !ok;
}
