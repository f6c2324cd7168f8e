// The names and tolerances of the self-test's rows, told by the kernel as the emulation runs it.
#pragma once
#include <vector>

namespace emu {

struct Row {
	const char *name;
	bool is_float;
	float absolute, relative;
};
extern std::vector<Row> rows;

void note_row(unsigned row, const char *name, bool is_float, float absolute, float relative);

} // namespace emu
