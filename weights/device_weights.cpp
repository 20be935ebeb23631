#include "weights/device_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/packed.h"

namespace tessera {

at::Tensor DeviceWeights::upload(const at::Tensor& source, at::ScalarType dtype) {
  constexpr int64_t kBufferBytes = int64_t{32} << 20;
  const at::Tensor target = at::empty(source.sizes(), at::TensorOptions().dtype(source.scalar_type()).device(device_));
  if (source.numel() == 0) return target.to(dtype);
  const at::Tensor from = source.contiguous().view({-1}).view(at::kByte), to = target.view({-1}).view(at::kByte);
  const auto stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  for (int64_t first = 0; first < from.numel(); first += kBufferBytes) {
    const int64_t count = std::min(kBufferBytes, from.numel() - first);
    Buffer& buffer = buffers_[next_];
    next_ = (next_ + 1) % buffers_.size();
    if (buffer.copied && !buffer.copied->query()) buffer.copied->synchronize();
    if (!buffer.bytes.defined() || buffer.bytes.numel() < count)
      buffer.bytes = at::empty({count}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
    const at::Tensor part = buffer.bytes.narrow(0, 0, count);
    part.copy_(from.narrow(0, first, count));
    to.narrow(0, first, count).copy_(part, /*non_blocking=*/true);
    if (!buffer.copied) buffer.copied.emplace(device_.type());
    buffer.copied->record(stream);
  }
  return target.to(dtype);
}

at::Tensor DeviceWeights::upload_packed(const at::Tensor& source, at::ScalarType dtype) {
  const PackedWeight& stored = *packed_weight(source);
  const auto options = at::TensorOptions().dtype(dtype).device(device_);
  const bool there_is_a_kernel = stored.numbers() > 0 && can_unpack_to(stored, at::empty({1}, options));
  if (!there_is_a_kernel) return upload(unpacked(source, dtype), dtype);
  PackedWeight there = stored;
  there.bytes = upload(stored.bytes, at::kByte);
  if (stored.scales.defined()) there.scales = upload(stored.scales, at::kFloat);
  for (LowRank& more : there.added) more = {upload(more.up, at::kFloat), upload(more.down, at::kFloat)};
  const at::Tensor value = at::empty(stored.shape, options);
  unpack_rows(there, 0, there.rows(), value.view({there.rows(), there.columns()}));
  return value;
}

void DeviceWeights::check(const at::Tensor& value) {
  if (value.numel() == 0) {
    ends_.push_back(at::zeros({2}, value.options().dtype(at::kDouble)));
    return;
  }
  const auto [least, most] = at::aminmax(value.view({-1}));  // NaN where there is one, and no copy of the tensor
  ends_.push_back(at::stack({least, most}).to(at::kDouble));
}

std::vector<bool> DeviceWeights::all_finite() const {
  std::vector<bool> out;
  if (ends_.empty()) return out;
  const at::Tensor finite = at::stack(ends_).isfinite().all(1).cpu();
  for (int64_t i = 0; i < finite.numel(); ++i) out.push_back(finite[i].item<bool>());
  return out;
}

}  // namespace tessera
