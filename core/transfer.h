#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <optional>

namespace tessera {

/// `host` on `device`. To a GPU it goes through pinned memory, and the call does not wait for it: work queued
/// afterwards finds it there. On the CPU it is the tensor itself.
at::Tensor uploaded(const at::Tensor& host, at::Device device);

/// A tensor on its way to the host. From a GPU it goes to pinned memory behind the work queued so far, while the host
/// goes on; a CPU tensor is there at once, itself. Movable; may be waited for in another thread.
class Download {
 public:
  Download() = default;
  explicit Download(const at::Tensor& from);

  bool started() const { return host_.defined(); }
  /// The tensor on the CPU; waits until it has arrived.
  const at::Tensor& wait();

 private:
  at::Tensor host_;
  std::optional<c10::Event> event_;  // none: it is there
};

/// Gives memory that LibTorch's allocator keeps of freed tensors back to the GPU; nothing on a CPU. After a failure for
/// want of memory, so that what is tried next has all there is, in one piece.
void empty_cache(at::Device device);

/// The most bytes of tensors that `device` held since the last call of reset_peak_memory; 0 on a CPU.
int64_t peak_memory(at::Device device);
void reset_peak_memory(at::Device device);

/// Bytes that are free on a GPU, and all that it has; both 0 on a CPU.
struct DeviceMemory {
  int64_t free = 0, total = 0;
};
DeviceMemory device_memory(at::Device device);

}  // namespace tessera
