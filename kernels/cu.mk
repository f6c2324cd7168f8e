# The CUDA kernels without a GPU: their PTX, the emulated driver, the self-test's record.
#
#   SAN=address,undefined or SAN=thread   the emulation under sanitizers

EMU_SAN ?= $(SAN)
comma := ,
emu_variant := $(if $(EMU_SAN),-$(subst $(comma),-,$(EMU_SAN)))
EMU_OUT := bin/emu$(emu_variant)
EMU_LIB := bin/libcuda-emu$(emu_variant).so
EMU_TEST := $(EMU_OUT)/test

# The engine and the driver are not instrumented, but told which sanitizer is there: fibers share their state on purpose.
# For this processor, but without fusing products and sums by itself, so that every processor gives the same bits.
emu_native := $(if $(filter x86_64,$(shell uname -m)),-march=native -ffp-contract=off)
emu_flags := -std=c++17 -O2 $(emu_native) -g -fPIC -fvisibility=hidden -Icuda/abi -Ikernels -MMD -MP \
	-Wall -Wextra -Wno-unused-function -Wno-unused-parameter
emu_tell := $(if $(findstring address,$(EMU_SAN)),-DEMU_ASAN) $(if $(findstring thread,$(EMU_SAN)),-DEMU_TSAN)
emu_instrument := $(if $(EMU_SAN),-fsanitize=$(EMU_SAN) -fno-omit-frame-pointer)
emu_link := $(if $(EMU_SAN),-fsanitize=$(EMU_SAN)) -lpthread

emu_engine := engine launch collectives shared memory fiber_switch selftest
emu_driver := driver driver_device driver_memory driver_queue driver_graphs driver_modules driver_record
emu_kernels := $(patsubst kernels/%.cu,%,$(wildcard kernels/*.cu))
emu_objects := $(addprefix $(EMU_OUT)/,$(addsuffix .o,$(emu_engine) $(emu_driver))) $(emu_kernels:%=$(EMU_OUT)/unit_%.o)

.PHONY: emulator ptx ptx-check ptx-gate selftest test-emulated test-kernels

emulator: $(EMU_LIB)

$(EMU_LIB): $(emu_objects)
	@$(CXX) -shared -o $@ $^ $(emu_link)
	@echo "built $@"

$(EMU_TEST): $(emu_objects) $(EMU_OUT)/test.o $(EMU_OUT)/test_driver.o $(EMU_OUT)/unit_test.o
	@$(CXX) -o $@ $^ $(emu_link)

$(EMU_OUT)/replay: $(filter-out $(EMU_OUT)/driver%,$(emu_objects)) $(EMU_OUT)/replay.o
	@$(CXX) -o $@ $^ $(emu_link)

$(EMU_OUT)/record: $(filter-out $(EMU_OUT)/driver%,$(emu_objects)) $(EMU_OUT)/record.o
	@$(CXX) -o $@ $^ $(emu_link)

$(EMU_OUT)/memory.o: kernels/emu/memory.cpp | $(EMU_OUT)
	@$(CXX) $(emu_flags) -fno-builtin $(emu_tell) $(emu_instrument) -c $< -o $@

$(EMU_OUT)/unit_test.o: kernels/emu/unit.cpp kernels/emu/test_kernels.cu | $(EMU_OUT)
	@$(CXX) $(emu_flags) $(emu_tell) $(emu_instrument) -DKERNELS='"test_kernels.cu"' -c $< -o $@

$(EMU_OUT)/unit_%.o: kernels/emu/unit.cpp kernels/%.cu | $(EMU_OUT)
	@$(CXX) $(emu_flags) $(emu_tell) $(emu_instrument) -DKERNELS='"../$*.cu"' -c $< -o $@

$(EMU_OUT)/%.o: kernels/emu/%.cpp | $(EMU_OUT)
	@$(CXX) $(emu_flags) $(emu_tell) -c $< -o $@

$(EMU_OUT):
	@mkdir -p $@

-include $(wildcard $(EMU_OUT)/*.d)

ptx: ## compile the kernels to kernels/ptx (clang-19)
	@new=$$(mktemp -d) && kernels/ptx.sh $$new && mkdir -p kernels/ptx && rm -rf kernels/ptx/sm_80 && cp -r $$new/sm_80 kernels/ptx/ && rm -rf $$new

ptx-check: ## the committed PTX is what the sources give, without spills
	@kernels/ptx.sh --check
	@kernels/ptx.sh --gate

ptx-gate:
	@kernels/ptx.sh --gate

selftest: $(EMU_OUT)/record ## record the emulation's self-test for GPUs
	@$(EMU_OUT)/record > kernels/testdata/selftest.json

# Faults that the sanitizer in use must report: 8 and 9 write outside of shared and global memory, 12 and 13 race.
emu_planted := $(if $(findstring address,$(EMU_SAN)),8 9) $(if $(findstring thread,$(EMU_SAN)),12 13)

test-kernels: $(EMU_TEST) $(EMU_OUT)/record ## the kernels' emulation by itself; SAN=address,undefined or SAN=thread under sanitizers
	@ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(EMU_TEST)
	@ASAN_OPTIONS=detect_leaks=0 $(EMU_OUT)/record kernels/testdata/selftest.json
	@for n in $(emu_planted); do \
		if ASAN_OPTIONS=detect_leaks=0 $(EMU_TEST) plant $$n >$(EMU_OUT)/plant.txt 2>&1; then \
			echo "$(EMU_SAN) does not report planted fault $$n"; exit 1; \
		elif ! grep -q 'test_kernels.cu:' $(EMU_OUT)/plant.txt; then \
			cat $(EMU_OUT)/plant.txt; exit 1; \
		fi; done

EMULATED ?= ./cuda/... ./kernels/... ./engine/... ./bench ./cmd/...
# Each allocation is one of the driver's, so that it sees what runs over an end.
emu_go = CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$(CURDIR)/cuda/abi" PALIMPSEST_LIBCUDA=$(CURDIR)/$(1) PALIMPSEST_CUDA_SEPARATE=1 \
	$(GO) test -count=1 -tags cuda,emulated -run Emulated

ifneq ($(findstring thread,$(EMU_SAN)),)
# Go's runtime does not bear TSan: the tests run without it and record launches, which then run under it without Go.
test-emulated: test-kernels $(EMU_OUT)/replay
	@$(MAKE) --no-print-directory SAN= emulator
	@rm -rf $(EMU_OUT)/launches && mkdir -p $(EMU_OUT)/launches
	@PALIMPSEST_EMU_RECORD=$(CURDIR)/$(EMU_OUT)/launches $(call emu_go,bin/libcuda-emu.so) $(EMULATED)
	@TSAN_OPTIONS=halt_on_error=1 $(EMU_OUT)/replay $(EMU_OUT)/launches/*.launch
	@rm -rf $(EMU_OUT)/launches
else ifneq ($(findstring address,$(EMU_SAN)),)
test-emulated: test-kernels $(EMU_LIB)
	@$(call emu_go,$(EMU_LIB)) -exec "env LD_PRELOAD=$(shell $(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0" $(EMULATED)
else
test-emulated: test-kernels $(EMU_LIB) ## the CUDA engine's tests on the emulated driver
	@$(call emu_go,$(EMU_LIB)) $(EMULATED)
endif
