#include <ATen/ATen.h>

#include "models/wan/vae_layers.h"

namespace tessera {

at::Tensor average_cells(const at::Tensor& x, int64_t channels, int64_t time, int64_t space) {
  const int64_t missing = (time - x.size(1) % time) % time;
  const at::Tensor whole = missing > 0 ? at::constant_pad_nd(x, {0, 0, 0, 0, 0, 0, missing, 0}) : x;
  return whole.unflatten(3, {-1, space})
      .unflatten(2, {-1, space})
      .unflatten(1, {-1, time})           // [B, T, time, H, space, W, space, C]
      .permute({0, 1, 3, 5, 7, 2, 4, 6})  // [B, T, H, W, C, time, space, space]
      .reshape({x.size(0), whole.size(1) / time, x.size(2) / space, x.size(3) / space, channels, -1})
      .mean(-1);
}

at::Tensor spread_cells(const at::Tensor& x, int64_t channels, int64_t time, int64_t space) {
  const int64_t B = x.size(0), T = x.size(1), H = x.size(2), W = x.size(3);
  return x.repeat_interleave(channels * time * space * space / x.size(4), -1)
      .unflatten(4, {channels, time, space, space})  // [B, T, H, W, channels, time, space, space]
      .permute({0, 1, 5, 2, 6, 3, 7, 4})
      .reshape({B, T * time, H * space, W * space, channels});
}

WanResidualDown::WanResidualDown(int64_t in, int64_t out, int64_t blocks, bool down, bool with_time) {
  for (int64_t i = 0; i < blocks; ++i) resnets.emplace_back(i == 0 ? in : out, out);
  if (down) downsamplers.emplace_back(out, with_time);
}

void WanResidualDown::params(ParamList& list, const std::string& prefix) {
  for (size_t i = 0; i < resnets.size(); ++i) resnets[i].params(list, prefix + "resnets." + std::to_string(i) + ".");
  for (WanDownsample& downsampler : downsamplers) downsampler.params(list, prefix + "downsampler.");
}

at::Tensor WanResidualDown::operator()(const at::Tensor& x, CausalCache* cache) const {
  const bool down = !downsamplers.empty(), with_time = down && downsamplers.front().temporal;
  at::Tensor h = x;
  for (const WanResidualBlock& resnet : resnets) h = resnet(h, cache);
  for (const WanDownsample& downsampler : downsamplers) h = downsampler(h, cache);
  return h + average_cells(x, h.size(4), with_time ? 2 : 1, down ? 2 : 1);
}

}  // namespace tessera
