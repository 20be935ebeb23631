#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <array>
#include <optional>
#include <vector>

namespace tessera {

/// Puts weights on a GPU. They travel as they are stored, through two pinned buffers, one being filled from the file
/// while the other is copied; the device converts them, and looks for numbers that are not finite.
class DeviceWeights {
 public:
  explicit DeviceWeights(at::Device device) : device_(device) {}

  /// `source`, a plain tensor on the CPU, as a contiguous tensor of `dtype` on the device.
  at::Tensor upload(const at::Tensor& source, at::ScalarType dtype);
  /// The numbers of a packed tensor, contiguous: unpacked by the device where it has the kernel, else before they
  /// travel.
  at::Tensor upload_packed(const at::Tensor& source, at::ScalarType dtype);
  /// Looks at a tensor on the device; the answer is the next of all_finite().
  void check(const at::Tensor& value);
  /// For each checked tensor whether all its numbers are finite. Waits for the device once.
  std::vector<bool> all_finite() const;

 private:
  struct Buffer {
    at::Tensor bytes;  // pinned
    std::optional<c10::Event> copied;
  };

  at::Device device_;
  std::array<Buffer, 2> buffers_;
  size_t next_ = 0;
  std::vector<at::Tensor> ends_;  // smallest and largest number of each checked tensor, float64 [2]
};

}  // namespace tessera
