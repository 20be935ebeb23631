#include "core/memory_cache.h"

#include <c10/core/Allocator.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <vector>

namespace tessera {
namespace {

constexpr size_t kHeader = 64;  // bytes before a block's data, which hold its class; keeps the alignment
constexpr size_t kMostKept = size_t{1} << 30, kMostKeptForever = size_t{4} << 30;
constexpr size_t kHugeFrom = size_t{4} << 20;  // bytes: such a block holds a whole huge page wherever it begins
constexpr uintptr_t kPage = 4096;
constexpr size_t kClasses = 8 * 57, kNotKept = kClasses;  // of sizes; what a block has that is freed at once

/// Blocks of at most 512 bytes in steps of 64, larger ones in eighths of a power of two.
struct SizeClass {
  size_t index, bytes;

  static SizeClass of(size_t bytes) {
    if (bytes <= 512) return {(bytes + 63) / 64, (bytes + 63) / 64 * 64};
    const auto exponent = static_cast<size_t>(std::bit_width(bytes - 1) - 1);  // 2^exponent < bytes <= 2^(exponent + 1)
    const size_t base = size_t{1} << exponent, step = base / 8, steps = (bytes - base + step - 1) / step;
    return {8 * (exponent - 8) + steps, base + steps * step};
  }
};

class MemoryCache : public c10::Allocator {
 public:
  explicit MemoryCache(c10::Allocator* source) : source_(source) {}

  c10::DataPtr allocate(size_t bytes) override {
    char* data = bytes == 0 ? nullptr : take(bytes);
    return {data, data, raw_deleter(), c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  void add_keeper() { ++keepers_; }
  void keep_forever() {
    const std::lock_guard lock(mutex_);
    most_ = kMostKeptForever;
    add_keeper();
  }
  void remove_keeper() {
    if (--keepers_ == 0) release();
  }

  static MemoryCache*& installed() {
    static MemoryCache* cache = nullptr;
    return cache;
  }

 private:
  char* take(size_t bytes) {
    const bool keeping = keepers_ > 0;
    const SizeClass wanted = keeping ? SizeClass::of(bytes) : SizeClass{kNotKept, bytes};
    if (keeping) {
      const std::lock_guard lock(mutex_);
      std::vector<char*>& blocks = kept_[wanted.index];
      if (!blocks.empty()) {
        char* block = blocks.back();
        blocks.pop_back();
        kept_bytes_ -= wanted.bytes;
        return block + kHeader;
      }
    }
    auto* block = static_cast<char*>(allocate_or_make_room(wanted.bytes + kHeader));
    if (keeping) ask_for_huge_pages(block, wanted.bytes + kHeader);
    *reinterpret_cast<SizeClass*>(block) = wanted;
    return block + kHeader;
  }

  /// A hint: where the kernel has none, nothing changes.
  static void ask_for_huge_pages(char* block, size_t bytes) {
    if (bytes < kHugeFrom) return;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + kPage - 1) / kPage * kPage;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(block) + bytes) / kPage * kPage;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }

  void* allocate_or_make_room(size_t bytes) {
    try {
      return source_->raw_allocate(bytes);
    } catch (const c10::Error&) {
      release();
    }
    return source_->raw_allocate(bytes);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    for (std::vector<char*>& blocks : kept_) {
      for (char* block : blocks) source_->raw_deallocate(block);
      blocks.clear();
    }
    kept_bytes_ = 0;
  }

  static void give_back(void* data) {
    if (data != nullptr) installed()->keep(static_cast<char*>(data) - kHeader);
  }

  void keep(char* block) {
    const SizeClass size = *reinterpret_cast<const SizeClass*>(block);
    if (size.index != kNotKept) {
      const std::lock_guard lock(mutex_);
      if (keepers_ > 0 && kept_bytes_ + size.bytes <= most_) {
        kept_[size.index].push_back(block);
        kept_bytes_ += size.bytes;
        return;
      }
    }
    source_->raw_deallocate(block);
  }

  c10::Allocator* source_;
  std::atomic<int> keepers_ = 0;
  std::mutex mutex_;
  std::array<std::vector<char*>, kClasses> kept_;  // by SizeClass::index
  size_t kept_bytes_ = 0, most_ = kMostKept;
};

}  // namespace

void install_memory_cache() {
  if (MemoryCache::installed() != nullptr) return;
  // Never destroyed: tensors with static lifetime outlive everything else.
  MemoryCache::installed() = new MemoryCache(c10::GetAllocator(c10::DeviceType::CPU));
  c10::SetAllocator(c10::DeviceType::CPU, MemoryCache::installed(), 1);
}

KeptMemory::KeptMemory() {
  if (MemoryCache* cache = MemoryCache::installed()) cache->add_keeper();
}

KeptMemory::~KeptMemory() {
  if (MemoryCache* cache = MemoryCache::installed()) cache->remove_keeper();
}

void keep_freed_memory() {
  install_memory_cache();
  MemoryCache::installed()->keep_forever();
}

}  // namespace tessera
