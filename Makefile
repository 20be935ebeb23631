# make demo and make test do all set-up on a fresh machine; everything else builds on them.
BUILD := build/release
JOBS ?= $(shell nproc)

.PHONY: demo test build setup bench format format-check asan fuzz clean
.DEFAULT_GOAL := build

setup:
	@scripts/setup >/dev/null

$(BUILD)/build.ninja: | setup
	cmake --preset release -DTESSERA_LIBTORCH="$$(scripts/setup)"

build: setup $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS)

test: build
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

# The program alone: building the tests takes as long again.
demo: setup $(BUILD)/build.ninja
	cmake --build $(BUILD) -j $(JOBS) --target tessera
	scripts/demo

bench: build
	scripts/bench
	bench/fid

asan: setup
	cmake --preset asan -DTESSERA_LIBTORCH="$$(scripts/setup)"
	cmake --build build/asan -j $(JOBS) --target core_test weights_test media_test $(FUZZERS)
	ASAN_OPTIONS=detect_leaks=0 ctest --test-dir build/asan --output-on-failure -L asan -j $(JOBS)

# Needs clang; FUZZ_SECONDS for each target.
FUZZERS := fuzz_safetensors fuzz_torch_archive fuzz_npz fuzz_json fuzz_tokenizer
FUZZ_SECONDS ?= 600
fuzz: setup
	cmake --preset fuzz -DTESSERA_LIBTORCH="$$(scripts/setup)"
	cmake --build build/fuzz -j $(JOBS) --target $(FUZZERS)
	scripts/fuzz $(FUZZ_SECONDS)

format:
	git ls-files '*.cpp' '*.h' | xargs clang-format -i

format-check:
	git ls-files '*.cpp' '*.h' | xargs clang-format --dry-run -Werror

clean:
	rm -rf build
