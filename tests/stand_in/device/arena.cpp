#include "tests/stand_in/device/arena.h"

#include <c10/util/Exception.h>
#include <execinfo.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "tests/stand_in/device/queue.h"

namespace stand_in {
namespace {

constexpr size_t kDeviceBytes = size_t{32} << 30;  // addresses; memory is taken where bytes are written
constexpr size_t kGranule = 512;                   // CUDA's
constexpr size_t kAllBytes = kDeviceBytes * kMostDevices;

size_t number_in(const char* variable, size_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

char* reserve(int protection) {
  void* range = mmap(nullptr, kAllBytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TORCH_CHECK(range != MAP_FAILED, "stand-in: cannot reserve addresses for device memory");
  return static_cast<char*>(range);
}

struct Arena {
  char* device = reserve(PROT_NONE);
  char* kernel = reserve(PROT_READ | PROT_WRITE);
  std::mutex mutex;
  std::array<std::map<size_t, size_t>, kMostDevices> blocks;  // taken: offset -> bytes
  std::array<Usage, kMostDevices> used;
  std::map<char*, size_t> pinned;
};

Arena& arena() {
  static auto* const made = new Arena;  // never destroyed: tensors of static objects outlive it
  return *made;
}

thread_local int current = 0;

/// The first gap of a device that holds `bytes`.
size_t place_for(const std::map<size_t, size_t>& blocks, size_t bytes) {
  size_t end = 0;
  for (const auto& [offset, size] : blocks) {
    if (offset - end >= bytes) return end;
    end = offset + size;
  }
  return end;
}

void say(const char* text) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, std::strlen(text));
}

void on_fault(int number, siginfo_t* info, void*) {
  if (is_device_memory(info->si_addr)) {
    say("stand-in: host code touched device memory\n");
    std::array<void*, 48> frames;
    backtrace_symbols_fd(frames.data(), backtrace(frames.data(), frames.size()), STDERR_FILENO);
    _exit(kTouched);
  }
  std::signal(number, SIG_DFL);
}

const bool watching = [] {
  arena();
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGSEGV, &action, nullptr) == 0;
}();

}  // namespace

int device_count() {
  return static_cast<int>(std::min<size_t>(number_in("STAND_IN_DEVICES", 1), kMostDevices));
}

int current_device() {
  return current;
}

void set_current_device(int device) {
  TORCH_CHECK(device >= 0 && device < device_count(), "stand-in: no device ", device);
  current = device;
}

void* allocate(size_t bytes, int device) {
  Arena& all = arena();
  const size_t size = (std::max<size_t>(bytes, 1) + kGranule - 1) / kGranule * kGranule;
  const size_t limit = number_in("STAND_IN_MEMORY", kDeviceBytes);
  size_t offset = 0;
  {
    const std::lock_guard lock(all.mutex);
    const auto index = static_cast<size_t>(device);
    Usage& used = all.used[index];
    TORCH_CHECK_WITH(OutOfMemoryError, used.live + size <= limit, "CUDA out of memory. Tried to allocate ",
                     static_cast<double>(size) / (1 << 20), " MiB. GPU ", device, " has a total capacity of ",
                     static_cast<double>(limit) / (1 << 20), " MiB");
    offset = place_for(all.blocks[index], size);
    all.blocks[index][offset] = size;
    used.live += size;
    used.peak = std::max(used.peak, used.live);
    offset += index * kDeviceBytes;
  }
  std::memset(all.kernel + offset, 0xff, bytes);
  return all.device + offset;
}

void release(void* pointer) {
  Arena& all = arena();
  const auto place = static_cast<size_t>(static_cast<char*>(pointer) - all.device);
  const size_t device = place / kDeviceBytes, offset = place % kDeviceBytes;
  const std::lock_guard lock(all.mutex);
  const auto found = all.blocks[device].find(offset);
  TORCH_INTERNAL_ASSERT(found != all.blocks[device].end());
  all.used[device].live -= found->second;
  constexpr size_t kGivenBack = size_t{1} << 20;
  if (found->second >= kGivenBack) madvise(all.kernel + place / 4096 * 4096 + 4096, found->second - 4096, MADV_FREE);
  all.blocks[device].erase(found);
}

bool is_device_memory(const void* pointer) {
  const char* at = static_cast<const char*>(pointer);
  return at >= arena().device && at < arena().device + kAllBytes;
}

void* kernel_view(void* pointer) {
  return is_device_memory(pointer) ? arena().kernel + (static_cast<char*>(pointer) - arena().device) : pointer;
}

Usage usage(int device) {
  const std::lock_guard lock(arena().mutex);
  Usage out = arena().used[static_cast<size_t>(device)];
  out.limit = number_in("STAND_IN_MEMORY", kDeviceBytes);
  return out;
}

void reset_peak(int device) {
  const std::lock_guard lock(arena().mutex);
  Usage& used = arena().used[static_cast<size_t>(device)];
  used.peak = used.live;
}

void* allocate_pinned(size_t bytes) {
  void* pointer = nullptr;
  TORCH_CHECK(posix_memalign(&pointer, 64, std::max<size_t>(bytes, 64)) == 0, "stand-in: no pinned memory");
  const std::lock_guard lock(arena().mutex);
  arena().pinned[static_cast<char*>(pointer)] = bytes;
  return pointer;
}

void release_pinned(void* pointer) {
  finish_copies_of(pointer);
  const std::lock_guard lock(arena().mutex);
  arena().pinned.erase(static_cast<char*>(pointer));
  std::free(pointer);
}

bool is_pinned(const void* pointer) {
  const std::lock_guard lock(arena().mutex);
  const char* at = static_cast<const char*>(pointer);
  auto after = arena().pinned.upper_bound(const_cast<char*>(at));
  if (after == arena().pinned.begin()) return false;
  const auto& [begin, bytes] = *std::prev(after);
  return at < begin + std::max<size_t>(bytes, 1);
}

}  // namespace stand_in
