#include "core/memory_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

namespace tessera {
namespace {

at::Tensor bytes(int64_t count) {
  return at::empty({count}, at::kByte);
}

/// Runs `check` after `begin` in a process of its own, because the cache stays for the rest of a process; it returns
/// what failed.
void expect_with_cache(const char* (*check)(), void (*begin)() = keep_freed_memory) {
  EXPECT_EXIT(
      {
        begin();
        const char* failed = check();
        std::fprintf(stderr, "%s", failed == nullptr ? "all held" : failed);
        std::_Exit(0);
      },
      testing::ExitedWithCode(0), "^all held$");
}

TEST(MemoryCache, FreedMemoryServesTheNextTensorOfItsSize) {
  expect_with_cache([]() -> const char* {
    const void* first = nullptr;
    for (const int64_t size : {100000, 106496, 98305}) {  // all in (98304, 106496], one class
      const at::Tensor tensor = bytes(size);
      if (first != nullptr && tensor.data_ptr() != first) return "not the freed memory";
      first = tensor.data_ptr();
    }
    const at::Tensor next_class = bytes(106497);
    return next_class.data_ptr() == first ? "memory that is too small" : nullptr;
  });
}

/// Megabytes that the process has in memory.
int64_t resident() {
  std::FILE* statm = std::fopen("/proc/self/statm", "r");
  int64_t all = 0, pages = 0;
  if (statm == nullptr || std::fscanf(statm, "%ld %ld", &all, &pages) != 2) return -1;
  std::fclose(statm);
  return pages * 4096 >> 20;
}

TEST(MemoryCache, KeepsMemoryOnlyWhileAskedTo) {
  expect_with_cache(
      []() -> const char* {
        const int64_t before = resident(), size = int64_t{64} << 20;
        at::Tensor older = bytes(size).fill_(1);
        {
          const KeptMemory outer;
          const KeptMemory inner;
          const void* first = bytes(size).fill_(1).data_ptr();
          if (resident() < before + 120) return "freed memory was not kept";
          if (bytes(size).data_ptr() != first) return "not the kept memory";
          older.reset();  // made before, so it goes back at once
          if (resident() > before + 80) return "memory of another stage was kept";
        }
        if (resident() > before + 10) return "kept memory was not let go at the end";
        bytes(size).fill_(1);
        return resident() > before + 10 ? "memory was kept without being asked" : nullptr;
      },
      install_memory_cache);
}

TEST(MemoryCache, EverySizeIsAlignedAndItsOwn) {
  expect_with_cache([]() -> const char* {
    for (int round = 0; round < 2; ++round) {  // from malloc, then from the cache
      std::vector<at::Tensor> kept;
      for (int64_t size = 0; size < 3000; ++size) kept.push_back(bytes(size).fill_(size % 251));
      for (int64_t size = 0; size < 3000; ++size) {
        const at::Tensor& tensor = kept[static_cast<size_t>(size)];
        if (reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 64 != 0) return "not aligned to 64 bytes";
        if (!tensor.eq(size % 251).all().item<bool>()) return "two tensors share memory";
      }
    }
    return nullptr;
  });
}

TEST(MemoryCache, WhatIsKeptIsLetGoWhenMemoryRunsOut) {
  expect_with_cache([]() -> const char* {
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    const int64_t piece = int64_t{64} << 20;
    {
      std::vector<at::Tensor> kept;
      for (int i = 0; i < 8; ++i) kept.push_back(bytes(piece));
      std::FILE* statm = std::fopen("/proc/self/statm", "r");
      int64_t pages = 0;
      if (statm == nullptr || std::fscanf(statm, "%ld", &pages) != 1) return "no /proc/self/statm";
      std::fclose(statm);
      limit.rlim_cur = static_cast<rlim_t>(pages * 4096 + piece);
      if (setrlimit(RLIMIT_AS, &limit) != 0) return "no limit on the address space";
    }
    try {
      const at::Tensor large = bytes(6 * piece);
      return nullptr;
    } catch (const c10::Error&) {
      return "kept memory was not let go";
    }
  });
}

}  // namespace
}  // namespace tessera
