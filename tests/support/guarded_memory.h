#pragma once

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

namespace tessera::test {

/// While it lives, every CPU tensor lies at the end of its pages, before one that nobody may touch: reading or writing
/// beyond it ends the program. What is left of the last 16 bytes is checked when the tensor goes, and is NaN when read.
class GuardedMemory : public c10::Allocator {
 public:
  GuardedMemory() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 1); }
  ~GuardedMemory() override { c10::SetCPUAllocator(before_, 1); }

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, at::Device(at::kCPU)};
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const Mapping mapping{(padded + page - 1) / page * page + page, bytes, padded};
    void* pages = mmap(nullptr, mapping.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(pages != MAP_FAILED, "cannot map ", mapping.length, " bytes");
    auto* end = static_cast<char*>(pages) + mapping.length - page;
    mprotect(end, page, PROT_NONE);
    std::memset(pages, kFilling, mapping.length - page);
    const std::lock_guard<std::mutex> lock(mutex());
    mappings()[end - padded] = mapping;
    return {end - padded, end - padded, &release, at::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static constexpr size_t kAlignment = 16;
  static constexpr int kFilling = 0xff;  // a NaN of every type
  struct Mapping {
    size_t length, bytes, padded;
  };

  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  static std::map<void*, Mapping>& mappings() {
    static std::map<void*, Mapping> all;
    return all;
  }
  static void release(void* data) {
    if (!data) return;
    const std::lock_guard<std::mutex> lock(mutex());
    const auto found = mappings().find(data);
    ASSERT_NE(found, mappings().end());
    const Mapping mapping = found->second;
    auto* begin = static_cast<unsigned char*>(data);
    const bool untouched =
        std::all_of(begin + mapping.bytes, begin + mapping.padded, [](unsigned char byte) { return byte == kFilling; });
    EXPECT_TRUE(untouched) << "written beyond the end";
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    munmap(begin + mapping.padded + page - mapping.length, mapping.length);
    mappings().erase(found);
  }

  c10::Allocator* before_;
};

}  // namespace tessera::test
