#include "selftest.h"

#include <mutex>

namespace emu {

std::vector<Row> rows;

void note_row(unsigned row, const char *name, bool is_float, float absolute, float relative)
{
	static std::mutex mutex;
	std::lock_guard<std::mutex> lock(mutex);
	if (row >= rows.size())
		rows.resize(row + 1);
	rows[row] = {name, is_float, absolute, relative};
}

} // namespace emu
