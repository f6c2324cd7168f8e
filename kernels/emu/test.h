// What the tests share.
#pragma once
#include <stdint.h>

extern int failures;
void check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3))); // prints and counts where not ok

uint32_t bits(); // fixed pseudo-random numbers
float uniform(); // in [-1, 1)

void test_driver();
