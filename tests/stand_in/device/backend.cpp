// The stand-in as LibTorch sees a CUDA library: its devices, streams and events, allocators and hooks.
#include "tests/stand_in/device/backend.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstring>
#include <memory>

#include "tests/stand_in/device/arena.h"
#include "tests/stand_in/device/queue.h"

namespace stand_in {

void drain() {
  count(Count::kDrains);
  wait_for(queued());
}

namespace {

class DeviceMemory final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const int device = current_device();
    void* pointer = stand_in::allocate(bytes, device);
    return {pointer, pointer, &release, c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device))};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(kernel_view(to), kernel_view(const_cast<void*>(from)), bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { count(Count::kEmptied); }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    const Usage used = usage(device);
    for (auto* stat : {&stats.allocated_bytes[0], &stats.reserved_bytes[0]}) {
      stat->current = static_cast<int64_t>(used.live);
      stat->peak = static_cast<int64_t>(used.peak);
    }
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex device) override { reset_peak(device); }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    const Usage used = usage(device);
    return {used.limit - used.live, used.limit};
  }
};

class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* pointer = allocate_pinned(bytes);
    return {pointer, pointer, &release_pinned, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

PinnedMemory pinned_memory;

/// One stream a device; an event is a place in the queue.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, static_cast<c10::DeviceIndex>(current_device())}; }
  void setDevice(c10::Device device) const override { set_current_device(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { set_current_device(device.index()); }
  c10::Stream getStream(c10::Device device) const override { return stream_of(device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return stream_of(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return stream_of(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return stream_of(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream_of(stream.device()); }
  void* getStreamNativeHandle(const c10::Stream) const override { return nullptr; }  // CUDA's default stream
  c10::DeviceIndex deviceCount() const noexcept override { return static_cast<c10::DeviceIndex>(device_count()); }

  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    if (!*event) *event = new uint64_t;
    *static_cast<uint64_t*>(*event) = queued();
  }
  void block(void*, const c10::Stream&) const override {}  // one stream
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<uint64_t*>(event); }
  bool queryEvent(void* event) const override { return !event || has_waited(*static_cast<uint64_t*>(event)); }
  void synchronizeEvent(void* event) const override {
    if (queryEvent(event)) return;
    count(Count::kWaits);
    wait_for(*static_cast<uint64_t*>(event));
  }
  bool queryStream(const c10::Stream&) const override { return false; }
  void synchronizeStream(const c10::Stream&) const override { drain(); }
  void synchronizeDevice(c10::DeviceIndex) const override { drain(); }

 private:
  static c10::Stream stream_of(c10::Device device) { return c10::Stream(c10::Stream::DEFAULT, device); }
};

const bool has_memory = [] {
  c10::SetAllocator(c10::kCUDA, &device_memory(), 255);
  return true;
}();

}  // namespace

c10::Allocator& device_memory() {
  static DeviceMemory memory;
  return memory;
}

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

}  // namespace stand_in

namespace at {

// LibTorch looks for a class of this name.
struct CUDAHooks : CUDAHooksInterface {
  CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return stand_in::device_count() > 0; }
  bool hasCUDA() const override { return true; }
  int getNumGPUs() const override { return stand_in::device_count(); }
  DeviceIndex deviceCount() const override { return static_cast<DeviceIndex>(stand_in::device_count()); }
  DeviceIndex current_device() const override { return static_cast<DeviceIndex>(stand_in::current_device()); }
  DeviceIndex getCurrentDevice() const override { return current_device(); }
  void setCurrentDevice(DeviceIndex device) const override { stand_in::set_current_device(device); }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  bool isPinnedPtr(const void* data) const override { return stand_in::is_pinned(data); }
  Allocator* getPinnedMemoryAllocator() const override { return &stand_in::pinned_memory; }
  Allocator* getCUDADeviceAllocator() const override { return &stand_in::device_memory(); }
  Device getDeviceFromPtr(void*) const override { return {kCUDA, current_device()}; }
  void deviceSynchronize(DeviceIndex) const override { stand_in::drain(); }
};

using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
