package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The committed trampolines are what the committed header gives.
func TestTrampolinesAreCurrent(t *testing.T) {
	header, err := os.ReadFile("../../abi/cuda.h")
	if err != nil {
		t.Fatal(err)
	}
	want, err := trampolines(string(header))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../trampolines.c")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("cuda/shim/trampolines.c is not what cuda/abi/cuda.h gives; hint: go generate ./cuda/shim")
	}
	if n := strings.Count(string(got), "\nCALL(") + strings.Count(string(got), "\nEARLY("); n < 159 {
		t.Errorf("%d trampolines; gorgonia.org/cu alone links 159 symbols", n)
	}
}

func TestTrampolines(t *testing.T) {
	got, err := trampolines("CUresult cuInit(unsigned);\nCUresult cuA(void);\nCUresult cuB_v2(int *, CUstream, const char **);\n")
	if err != nil {
		t.Fatal(err)
	}
	body := strings.TrimPrefix(string(got), preamble)
	if want := "CALL(cuA, (void), ())\nCALL(cuB_v2, (int *a0, CUstream a1, const char **a2), (a0, a1, a2))\n"; body != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
	for _, bad := range []string{"", "int x;\n", "CUresult cuA(int,\n\tint);\n", "CUresult cuA(void);\nCUresult cuB(void (*f)(int));\n"} {
		if _, err := trampolines(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
