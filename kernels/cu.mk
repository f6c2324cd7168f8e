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
emu_flags := -std=c++17 -O2 -g -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unused-function -Wno-unused-parameter -Icuda/abi -Ikernels -MMD -MP
emu_tell := $(if $(findstring address,$(EMU_SAN)),-DEMU_ASAN) $(if $(findstring thread,$(EMU_SAN)),-DEMU_TSAN)
emu_instrument := $(if $(EMU_SAN),-fsanitize=$(EMU_SAN) -fno-omit-frame-pointer)
emu_link := $(if $(EMU_SAN),-fsanitize=$(EMU_SAN)) -lpthread

emu_engine := engine launch collectives fiber_switch memory selftest
emu_driver := driver driver_memory driver_queue driver_modules
emu_kernels := $(patsubst kernels/%.cu,%,$(wildcard kernels/*.cu))
emu_objects := $(addprefix $(EMU_OUT)/,$(addsuffix .o,$(emu_engine) $(emu_driver))) $(emu_kernels:%=$(EMU_OUT)/unit_%.o)

.PHONY: emulator ptx ptx-check ptx-gate selftest test-emulated test-kernels

emulator: $(EMU_LIB)

$(EMU_LIB): $(emu_objects)
	@$(CXX) -shared -o $@ $^ $(emu_link)
	@echo "built $@"

$(EMU_TEST): $(emu_objects) $(EMU_OUT)/test.o $(EMU_OUT)/unit_test.o
	@$(CXX) -o $@ $^ $(emu_link)

$(EMU_OUT)/record: $(filter-out $(EMU_OUT)/driver%,$(emu_objects)) $(EMU_OUT)/record.o
	@$(CXX) -o $@ $^ $(emu_link)

$(EMU_OUT)/memory.o: kernels/emu/memory.cpp | $(EMU_OUT)
	@$(CXX) $(emu_flags) $(emu_tell) $(emu_instrument) -c $< -o $@

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
	@rm -rf kernels/ptx && kernels/ptx.sh ptx

ptx-check: ## the committed PTX is what the sources give, without spills
	@kernels/ptx.sh --check
	@kernels/ptx.sh --gate

ptx-gate:
	@kernels/ptx.sh --gate

selftest: $(EMU_OUT)/record ## record the emulation's self-test for GPUs
	@$(EMU_OUT)/record > kernels/testdata/selftest.json

test-kernels: $(EMU_TEST)
	@$(EMU_TEST)
