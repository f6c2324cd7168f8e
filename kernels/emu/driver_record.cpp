// Writes launches to files: of each kernel a few of different shapes that are small enough to be run again soon.
#include "recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "driver.h"

namespace driver {

namespace {

constexpr size_t SHAPES = 6, BYTES = 16 << 20; // of a kernel; of a launch
constexpr uint64_t THREADS = 1 << 16;

bool is_nan_page(Address a)
{
	const uint64_t *w = (const uint64_t *)a;
	return std::all_of(w, w + recording::PAGE / sizeof *w, [](uint64_t v) { return v == ~(uint64_t)0; });
}

// pages returns the offsets of an allocation's pages that hold something.
std::vector<uint64_t> pages(const Allocation &a)
{
	std::vector<uint64_t> used;
	for (size_t at = 0; at < a.mapped; at += recording::PAGE)
		if (!is_nan_page(a.base + at))
			used.push_back(at);
	return used;
}

bool write_all(FILE *f, const void *p, size_t bytes) { return fwrite(p, 1, bytes, f) == bytes; }

bool write_launch(FILE *f, const recording::Header &h, const emu::Kernel *k, const std::vector<char> &arguments,
	const std::vector<Allocation *> &given, const std::vector<std::vector<uint64_t>> &used)
{
	bool ok = write_all(f, &h, sizeof h) && write_all(f, k->name, h.name) && write_all(f, arguments.data(), h.arguments);
	for (size_t i = 0; i < given.size(); i++) {
		recording::Block b = {given[i]->base, given[i]->mapped, used[i].size()};
		ok = ok && write_all(f, &b, sizeof b);
		for (uint64_t at : used[i]) {
			recording::Page p = {at};
			ok = ok && write_all(f, &p, sizeof p) && write_all(f, (const void *)(given[i]->base + at), recording::PAGE);
		}
	}
	return ok;
}

} // namespace

void record_launch(const emu::Kernel *k, dim3 grid, dim3 block, unsigned shared, const std::vector<char> &arguments)
{
	static const char *folder = getenv("PALIMPSEST_EMU_RECORD");
	static std::map<std::string, std::set<std::vector<unsigned>>> seen;
	uint64_t threads = (uint64_t)grid.x * grid.y * grid.z * block.x * block.y * block.z;
	if (!folder || threads > THREADS)
		return;
	std::set<std::vector<unsigned>> &shapes = seen[k->name];
	std::vector<unsigned> shape = {grid.x, grid.y, grid.z, block.x, block.y, block.z, shared};
	if (shapes.size() >= SHAPES || shapes.count(shape))
		return;

	std::vector<Allocation *> given;
	std::vector<std::vector<uint64_t>> used;
	size_t total = 0;
	for (size_t at = 0; at + sizeof(Address) <= arguments.size(); at += sizeof(Address)) { // also inside structs
		Address p;
		memcpy(&p, &arguments[at], sizeof p);
		Allocation *a = in_device(p) ? nearest(p) : nullptr;
		if (!a || !a->live || std::find(given.begin(), given.end(), a) != given.end())
			continue;
		given.push_back(a);
		used.push_back(pages(*a));
		total += used.back().size() * recording::PAGE;
	}
	if (total > BYTES)
		return;
	shapes.insert(shape);
	recording::Header h = {recording::MAGIC, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared,
		(uint32_t)strlen(k->name), (uint32_t)arguments.size(), (uint32_t)given.size()};
	std::string path = std::string(folder) + "/" + k->name + "-" + std::to_string(getpid()) + "-" +
					   std::to_string(shapes.size()) + ".launch";
	FILE *f = fopen(path.c_str(), "wb");
	bool ok = f && write_launch(f, h, k, arguments, given, used);
	if (f && fclose(f))
		ok = false;
	if (!ok)
		fprintf(stderr, "emulated driver: %s cannot be written\n", path.c_str());
}

} // namespace driver
