# palimpsest: what a newcomer types. 'make help' lists it.

SHELL := /bin/bash
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
# cgo gives the C kernels and OpenBLAS; without a C compiler everything works too, slower.
CC := $(shell $(GO) env CC)
export CGO_ENABLED ?= $(shell command -v $(firstword $(CC)) >/dev/null 2>&1 && echo 1 || echo 0)
# With cgo, CUDA is built in: it needs the project's own cuda.h and nothing of NVIDIA's, and the binary starts without a
# driver. TAGS= builds without it. Setting CGO_CFLAGS replaces Go's own -O2 -g, so that these are named again.
TAGS ?= $(if $(filter 1,$(CGO_ENABLED)),cuda)
ifneq ($(strip $(TAGS)),)
export GOFLAGS := $(strip $(GOFLAGS) -tags=$(TAGS))
export CGO_CFLAGS := $(filter-out -I$(CURDIR)/cuda/abi,$(shell $(GO) env CGO_CFLAGS)) -I$(CURDIR)/cuda/abi
endif

.PHONY: help build demo test test-hf vet race bench bench-compare experiments clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 15

build: ## build ./palimpsest
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o palimpsest ./cmd/palimpsest

demo: ## from nothing to a trained model in ./demo, in minutes
	@GO='$(GO)' bash cmd/demo.sh

test: ## run all tests
	@if [ "$(CGO_ENABLED)" = 0 ]; then echo "test: without cgo (CGO_ENABLED=0, or no C compiler): the C kernels are not tested; hint: apt-get install gcc libc6-dev"; fi
	$(GO) vet ./...
	$(GO) test -count=1 ./...

test-hf: build ## check against transformers, tokenizers and PyTorch (makes ./.venv-hf)
	@GO='$(GO)' bash bench/hf/check.sh

vet: ## gofmt and go vet
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt -w is needed:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...

race: ## run the tests of what is concurrent with the race detector
	CGO_ENABLED=1 $(GO) test -race -count=1 -short -skip 'TestCompliance/^ref' ./kernels
	CGO_ENABLED=1 $(GO) test -race -count=1 -short ./engine ./engine/model ./engine/checkpoint ./engine/shard ./engine/text ./engine/signals ./engine/report ./engine/sweep ./cmd/palimpsest

bench: build ## measure this machine into bench/results
	@bash bench/cpu.sh

experiments: build ## do the published effects appear? tables into bench/results/experiments (DATA=folder, SIZE=cpu|gpu)
	@TOOL='$(GO) run ./bench/experiments' bash bench/experiments/all.sh

bench-compare: build ## measure training beside PyTorch (PALIMPSEST_PYTHON)
	@bash bench/compare.sh

clean: ## remove what make built: ./palimpsest, ./demo and the emulation and GPU pack in ./bin
	rm -rf palimpsest demo bin/gpu* bin/emu* bin/libcuda-emu*

include kernels/cu.mk
include bench/gpu.mk
