//go:build !emulated

package main

import "os"

// Tests do not depend on what GPU the machine has: there is none.
func init() { os.Setenv("PALIMPSEST_LIBCUDA", "") }
