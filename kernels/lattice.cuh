// The lattices of a launch and which of them has a row, as alignment_cuda.go lists them.
#pragma once
#include "ragged.cuh"

// A lattice: its first row, S states, first target, M targets, E emitted tokens, and where its match, its links, its targets'
// numbers and its labels' work begin.
struct Lattice {
	int start, S, first, M, E, match, links, steps, labels;
};
constexpr int LATTICE_INTS = 9;

CUK Lattice lattice_of(const int *table, int b)
{
	const int *t = table + (long)b * LATTICE_INTS;
	return {t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]};
}
