# make demo and make test do all set-up on a fresh machine; everything else builds on them.
BUILD := build/release
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 600

.PHONY: demo test build setup install package bench format format-check asan tsan fuzz clean
.DEFAULT_GOAL := build

setup:
	@scripts/setup >/dev/null

$(BUILD)/build.ninja: | setup
	cmake --preset release

build: setup $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS)

test: build
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

# The program alone: building the tests takes as long again.
demo: setup $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS) --target tessera
	scripts/demo

install: build
	cmake --install $(BUILD) --prefix $(PREFIX)

# A .tar.gz and a .deb in build/release/packages.
package: build
	cpack --config $(BUILD)/CPackConfig.cmake

# Against diffusers, transformers and pytorch-fid, on a quiet machine: 20 minutes, and docs/benchmarks is written anew.
bench: setup $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS) --target tessera benchmarks
	bench/peers

# Every folder under AddressSanitizer and UBSan, but for the three tests that count or limit memory: the sanitizer takes its own.
asan: setup
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS)
	ctest --preset asan -j $(JOBS)

# What has threads of its own under ThreadSanitizer: queue, output thread, decoders, the Inception network.
tsan: setup
	cmake --preset tsan
	cmake --build --preset tsan -j $(JOBS)
	ctest --preset tsan -j $(JOBS)

# Needs clang; FUZZ_SECONDS for each target.
fuzz: setup
	cmake --preset fuzz
	cmake --build --preset fuzz -j $(JOBS)
	scripts/fuzz $(FUZZ_SECONDS)

format:
	git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format -i

format-check:
	git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror

clean:
	rm -rf build
