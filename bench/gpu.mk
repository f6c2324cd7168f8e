# What a machine with a GPU and a driver needs to be measured: no Go, no CUDA toolkit. bench/gpu_check.sh says how to use it.

GPU_PACK := bin/gpu
GPU_PACKAGES := cuda kernels engine
gpu_go = CGO_ENABLED=1 GOFLAGS= CGO_CFLAGS="-O2 -g -I$(CURDIR)/cuda/abi" $(GO)

.PHONY: gpu-pack gpu-check

gpu-pack: ## build what gpu-check needs into bin/gpu (compressed), to be carried to a machine with a GPU
	@rm -rf $(GPU_PACK) && mkdir -p $(GPU_PACK)/text
	@$(gpu_go) build -tags cuda -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(GPU_PACK)/palimpsest ./cmd/palimpsest
	@for p in $(GPU_PACKAGES); do \
		grep -L '^//go:build.*emulated' $$p/*_test.go | xargs grep -q '^func Test[A-Za-z0-9]*Device(' || { echo "$$p has no device test"; continue; }; \
		mkdir -p $(GPU_PACK)/$$p && \
		$(gpu_go) test -c -tags cuda -trimpath -ldflags '-s -w' -o $(GPU_PACK)/$$p/$$p.test ./$$p && \
		if [ -d $$p/testdata ]; then cp -r $$p/testdata $(GPU_PACK)/$$p/; fi || exit 1; \
	done
	@mkdir -p $(GPU_PACK)/kernels/ptx/sm_80 && cp kernels/ptx/sm_80/reduce.ptx $(GPU_PACK)/kernels/ptx/sm_80/ # what cuda's tests launch
	@git rev-parse --short=12 HEAD >$(GPU_PACK)/commit 2>/dev/null || echo unversioned >$(GPU_PACK)/commit
	@cp README.md kernels/*.go $(GPU_PACK)/text/
	@$(GPU_PACK)/palimpsest tokenizer train --vocab 2048 --out $(GPU_PACK)/tokenizer.json --include '*.go' --include '*.md' $(GPU_PACK)/text >/dev/null
	@$(GPU_PACK)/palimpsest data build --unit paragraph --min-tokens 8 --tokenizer $(GPU_PACK)/tokenizer.json --out $(GPU_PACK)/shards \
		--include '*.go' --include '*.md' $(GPU_PACK)/text >/dev/null
	@rm -rf $(GPU_PACK)/text
	@gzip -n $(GPU_PACK)/palimpsest $(GPU_PACK)/*/*.test
	@echo "built $(GPU_PACK): $$(du -sh $(GPU_PACK) | cut -f1)"

gpu-check: gpu-pack $(if $(filter 1,$(GPU_CHECK_EMULATED)),emulator) ## test and measure the GPU of this machine into bench/results (GPU_CHECK_EMULATED=1: the flow, without a GPU)
	@bash bench/gpu_check.sh
