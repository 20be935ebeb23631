#include "core/transfer.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace tessera {
namespace {

/// The allocator of a GPU's memory; null on a CPU.
c10::DeviceAllocator* allocator_of(at::Device device) {
  return device.is_cuda() ? dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type())) : nullptr;
}

}  // namespace

at::Tensor uploaded(const at::Tensor& host, at::Device device) {
  if (!device.is_cuda() || !host.is_cpu()) return host.to(device);
  return host.pin_memory().to(device, host.scalar_type(), /*non_blocking=*/true);
}

Download::Download(const at::Tensor& from) {
  if (!from.is_cuda()) {
    host_ = from;
    return;
  }
  host_ = from.contiguous().to(at::Device(at::kCPU), from.scalar_type(), /*non_blocking=*/true);
  event_.emplace(from.device().type());
  event_->record(c10::impl::VirtualGuardImpl(from.device().type()).getStream(from.device()));
}

const at::Tensor& Download::wait() {
  if (event_ && !event_->query()) event_->synchronize();
  event_.reset();
  return host_;
}

void empty_cache(at::Device device) {
  if (c10::DeviceAllocator* allocator = allocator_of(device)) allocator->emptyCache();
}

int64_t peak_memory(at::Device device) {
  c10::DeviceAllocator* allocator = allocator_of(device);
  return allocator ? allocator->getDeviceStats(device.index()).allocated_bytes[0].peak : 0;  // 0: of all kinds
}

void reset_peak_memory(at::Device device) {
  if (c10::DeviceAllocator* allocator = allocator_of(device)) allocator->resetPeakStats(device.index());
}

DeviceMemory device_memory(at::Device device) {
  c10::DeviceAllocator* allocator = allocator_of(device);
  if (!allocator) return {};
  const auto [free, total] = allocator->getMemoryInfo(device.index());
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

}  // namespace tessera
