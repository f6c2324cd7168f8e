// Runs the self-test kernel in the emulation and prints testdata/selftest.json: inputs, expected words, tolerances. With
// the name of such a file it compares its words with what the emulation gives now, within the tolerances, because
// mathematical functions of the C library differ in the last bit.
// The inputs are fixed: bits of a linear congruential generator made into floats of the sizes that each row asks for, with
// the special values in front.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "launch.h"
#include "selftest.h"

namespace {

constexpr unsigned THREADS = 64, IN_ROWS = 16, SCRATCH = 1024, SHARED = 4096;

uint32_t bits_of(float v)
{
	uint32_t u;
	memcpy(&u, &v, 4);
	return u;
}

std::vector<uint32_t> inputs()
{
	std::vector<uint32_t> in(IN_ROWS * THREADS);
	uint64_t state = 2463534242;
	auto bits = [&] { return (uint32_t)((state = state * 6364136223846793005ull + 1442695040888963407ull) >> 32); };
	auto unit = [&] { return (float)(bits() >> 8) * 0x1p-24f; };
	for (uint32_t &word : in)
		word = bits();
	// rows: any floats, positive ones, small ones; the rest stays bits
	const float special[] = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 1.00390625f, 1.01171875f, -1.00390625f, 3.3895314e38f,
		65504, 1e-3f, -1e-30f};
	for (unsigned t = 0; t < THREADS; t++) {
		in[t] = bits_of(t < 14 ? special[t] : ldexpf(unit() - 0.5f, (int)(bits() % 40) - 20));
		in[THREADS + t] = bits_of(t < 32 ? ldexpf(1 + unit(), (int)t * 6 - 100) : 0.75f + 0.5f * unit());
		in[2 * THREADS + t] = bits_of(t < 48 ? ((float)t - 23.5f) * 0.26f + 0.01f * unit() : 20 * unit() - 10);
	}
	return in;
}

void print(const char *name, const std::vector<uint32_t> &words, const char *end)
{
	printf("\t\"%s\": [", name);
	for (size_t i = 0; i < words.size(); i++)
		printf("%s%s%u", i ? "," : "", i % THREADS ? " " : "\n\t\t", words[i]);
	printf("\n\t]%s\n", end);
}

// recorded reads the words of "out" in a file that this program printed.
std::vector<uint32_t> recorded(const char *path)
{
	std::string text;
	if (FILE *f = fopen(path, "rb")) {
		char part[4096];
		for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
			text.append(part, n);
		fclose(f);
	}
	std::vector<uint32_t> words;
	size_t at = text.find("\"out\": [");
	const char *p = at == text.npos ? "" : &text[at + 8];
	for (char *end; (p = strpbrk(p, "0123456789]")) && *p != ']'; p = end)
		words.push_back((uint32_t)strtoul(p, &end, 10));
	return words;
}

float float_of(uint32_t u)
{
	float v;
	memcpy(&v, &u, 4);
	return v;
}

bool close(const emu::Row &row, uint32_t got, uint32_t want)
{
	float g = float_of(got), w = float_of(want);
	return got == want || (row.is_float && ((isnan(g) && isnan(w)) || fabsf(g - w) <= row.absolute + row.relative * fabsf(w)));
}

int compare(const char *path, const std::vector<uint32_t> &out)
{
	std::vector<uint32_t> want = recorded(path);
	bool same = want.size() == out.size();
	for (size_t i = 0; same && i < out.size(); i++)
		same = close(emu::rows[i / THREADS], out[i], want[i]);
	if (!same)
		fprintf(stderr, "record: %s is not what the emulation gives; hint: make selftest, and commit it\n", path);
	return !same;
}

} // namespace

int main(int argc, char **argv)
{
	std::vector<uint32_t> in = inputs(), out(4096 * THREADS), scratch(SCRATCH);
	uint32_t *aligned_scratch = (uint32_t *)aligned_alloc(256, SCRATCH * 4);
	uint32_t *aligned_in = (uint32_t *)aligned_alloc(256, in.size() * 4), *to = out.data();
	memset(aligned_scratch, 0, SCRATCH * 4);
	memcpy(aligned_in, in.data(), in.size() * 4);
	void *arguments[] = {&to, &aligned_in, &aligned_scratch};
	emu::Kernel *kernel = emu::find("selftest_run");
	if (!kernel) {
		fprintf(stderr, "record: there is no kernel selftest_run\n");
		return 1;
	}
	emu::Result result = emu::launch(kernel, 1, THREADS, SHARED, arguments, emu::Options());
	if (result.fault != emu::Fault::none) {
		fprintf(stderr, "record: %s\n", result.message);
		return 1;
	}
	out.resize(emu::rows.size() * THREADS);
	if (argc > 1)
		return compare(argv[1], out);
	printf("{\n\t\"kernel\": \"selftest_run\", \"threads\": %u, \"shared\": %u, \"scratch\": %u,\n", THREADS, SHARED, SCRATCH);
	printf("\t\"rows\": [\n");
	for (size_t i = 0; i < emu::rows.size(); i++)
		printf("\t\t{\"name\": \"%s\", \"kind\": \"%s\", \"absolute\": %g, \"relative\": %g}%s\n", emu::rows[i].name,
			emu::rows[i].is_float ? "float" : "word", (double)emu::rows[i].absolute, (double)emu::rows[i].relative,
			i + 1 < emu::rows.size() ? "," : "");
	printf("\t],\n");
	print("in", in, ",");
	print("out", out, "");
	printf("}\n");
	return 0;
}
