#include "models/wan/vae_layers.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/convolution.h"

namespace tessera {
namespace {

/// The same weight with every temporal tap but the last set to zero.
Init last_tap_normal(double deviation) {
  Init init = Init::normal(deviation);
  init.adjust = [](at::Tensor& weight) { weight.slice(2, 0, weight.size(2) - 1).zero_(); };
  return init;
}

/// Last tap of a time convolution [C', C, 3, 1, 1]: output o copies channel o mod C.
Init last_tap_copies(int64_t in, int64_t out) {
  return Init::of([in, out] {
    at::Tensor weight = at::zeros({out, in, 3, 1, 1});
    for (int64_t o = 0; o < out; o += in)
      weight.slice(0, o, o + in).select(2, 2).squeeze(-1).squeeze(-1).fill_diagonal_(1);
    return weight;
  });
}

/// A 2D convolution of every frame: x [B, T, H, W, C] -> [B, T, H', W', C'].
at::Tensor conv_frames(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                       int64_t padding) {
  const at::Tensor frames = x.flatten(0, 1).permute({0, 3, 1, 2});  // [B T, C, H, W]
  const at::Tensor y = convolution(frames, weight, bias, {stride, stride}, {padding, padding});
  return y.permute({0, 2, 3, 1}).contiguous().unflatten(0, {x.size(0), x.size(1)});
}

FrameParts extend(const FrameParts& x, int64_t keep, CausalCache* cache) {
  return cache ? cache->extend(x, keep) : x;
}

at::Tensor join(const FrameParts& parts) {
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

/// The last `keep` frames. A part of a larger tensor is copied: it would keep all of that in memory.
FrameParts last_frames(const FrameParts& parts, int64_t keep) {
  FrameParts last;
  for (auto part = parts.rbegin(); keep > 0 && part != parts.rend(); ++part) {
    const int64_t frames = std::min(keep, part->size(1));
    if (frames == 0) continue;
    const at::Tensor kept = part->slice(1, part->size(1) - frames);
    last.insert(last.begin(), kept.nbytes() < kept.storage().nbytes() ? kept.clone() : kept);
    keep -= frames;
  }
  return last;
}

}  // namespace

bool starts_clip(const CausalCache* cache) {
  return cache == nullptr || cache->first_chunk();
}

void CausalCache::begin_chunk() {
  next_ = 0;
  ++chunks_;
}

FrameParts CausalCache::extend(const FrameParts& x, int64_t keep) {
  if (next_ == slots_.size()) slots_.emplace_back();
  FrameParts& slot = slots_[next_++];
  FrameParts joined = slot;
  joined.insert(joined.end(), x.begin(), x.end());
  slot = last_frames(joined, keep);
  return joined;
}

at::Tensor CausalCache::extend(const at::Tensor& x, int64_t keep) {
  return join(extend(FrameParts{x}, keep));
}

int64_t CausalCache::bytes() const {
  int64_t total = 0;
  for (const FrameParts& slot : slots_)
    for (const at::Tensor& part : slot) total += static_cast<int64_t>(part.nbytes());
  return total;
}

void CausalConv3d::params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels,
                          int64_t time_kernel, int64_t kernel, double gain) {
  params(out, prefix, in, out_channels, time_kernel, kernel,
         last_tap_normal(gain / std::sqrt(static_cast<double>(in * kernel * kernel))));
}

void CausalConv3d::params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels,
                          int64_t time_kernel, int64_t kernel, Init weight_init, Init bias_init) {
  out.add(prefix + "weight", weight, {out_channels, in, time_kernel, kernel, kernel}, std::move(weight_init));
  out.add(prefix + "bias", bias, {out_channels}, std::move(bias_init));
}

namespace {

/// CausalConv3d by ATen's convolutions, for the last `frames` frames.
at::Tensor causal_conv(const CausalConv3d& conv, int64_t frames, const FrameParts& with_past) {
  const int64_t past = conv.weight.size(2) - 1, border = conv.weight.size(3) / 2;
  at::Tensor joined = join(with_past);
  // The zeros in front of a single first frame leave the last tap alone: a 2D convolution.
  if (joined.size(1) == 1) return conv_frames(joined, conv.weight.select(2, past), conv.bias, 1, border);
  const int64_t missing = past + frames - joined.size(1);
  if (missing > 0) joined = at::constant_pad_nd(joined, {0, 0, 0, 0, 0, 0, missing, 0});
  const at::Tensor y =
      convolution(joined.permute({0, 4, 1, 2, 3}), conv.weight, conv.bias, {1, 1, 1}, {0, border, border});
  return y.permute({0, 2, 3, 4, 1}).contiguous();
}

}  // namespace

at::Tensor CausalConv3d::operator()(const FrameParts& x, CausalCache* cache, const at::Tensor& residual) const {
  const int64_t past = weight.size(2) - 1;
  const FrameParts joined = extend(x, past, cache);
  if (!plain && has_frame_conv(x[0], weight)) {
    const int64_t zeros = past + frames_of(x) - frames_of(joined);
    return frame_conv({.parts = joined, .zeros = zeros, .bias = bias, .residual = residual}, *filters.of(weight));
  }
  const at::Tensor y = causal_conv(*this, frames_of(x), joined);
  return residual.defined() ? y + residual : y;
}

at::Tensor CausalConv3d::every_second(const FrameParts& x) const {
  if (has_frame_conv(x[0], weight)) return frame_conv({.parts = x, .stride = 2, .bias = bias}, *filters.of(weight));
  return convolution(join(x).permute({0, 4, 1, 2, 3}), weight, bias, {2, 1, 1}, {0, 0, 0})
      .permute({0, 2, 3, 4, 1})
      .contiguous();
}

void PointConv::params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels, int64_t dims,
                       Init weight_init, Init bias_init) {
  std::vector<int64_t> shape(static_cast<size_t>(dims), 1);
  shape[0] = out_channels, shape[1] = in;
  out.add(prefix + "weight", weight, shape, std::move(weight_init));
  out.add(prefix + "bias", bias, {out_channels}, std::move(bias_init));
}

at::Tensor PointConv::operator()(const at::Tensor& x) const {
  const auto dtype = x.scalar_type();
  return at::linear(x, weight.flatten(1).to(dtype), bias.to(dtype));
}

void WanResidualBlock::params(ParamList& list, const std::string& prefix) {
  norm1.params(list, prefix + "norm1.", in, 4);
  conv1.params(list, prefix + "conv1.", in, out, 3, 3, 1.5);
  norm2.params(list, prefix + "norm2.", out, 4);
  conv2.params(list, prefix + "conv2.", out, out, 3, 3, 0.7);
  if (in != out)
    shortcut.params(list, prefix + "conv_shortcut.", in, out, 5,
                    Init::normal(1.0 / std::sqrt(static_cast<double>(in))));
}

namespace {

/// SiLU of the normalized x, the frames that a cache keeps in a tensor of their own.
FrameParts norm_frames(const ChannelNorm& norm, const at::Tensor& x, const CausalCache* cache) {
  constexpr int64_t kKept = 2;
  const int64_t before = x.size(1) - kKept;
  if (cache == nullptr || before <= 0 || x.size(0) > 1) return {norm.silu(x)};
  return {norm.silu(x.narrow(1, 0, before)), norm.silu(x.narrow(1, before, kKept))};
}

}  // namespace

at::Tensor WanResidualBlock::operator()(const at::Tensor& x, CausalCache* cache) const {
  const at::Tensor hidden = conv1(norm_frames(norm1, x, cache), cache);
  return conv2(norm_frames(norm2, hidden, cache), cache, in == out ? x : shortcut(x));
}

void WanFrameAttention::params(ParamList& list, const std::string& prefix) {
  const double deviation = 1.0 / std::sqrt(static_cast<double>(channels));
  norm.params(list, prefix + "norm.", channels, 3);
  to_qkv.params(list, prefix + "to_qkv.", channels, 3 * channels, 4, Init::normal(deviation));
  proj.params(list, prefix + "proj.", channels, channels, 4, Init::normal(0.5 * deviation));
}

at::Tensor WanFrameAttention::operator()(const at::Tensor& x, CausalCache*) const {
  const at::Tensor pixels = norm(x).flatten(0, 1).flatten(1, 2).unsqueeze(1);  // [B T, 1, H W, C]
  const auto qkv = to_qkv(pixels).chunk(3, -1);
  return x + proj(at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])).view(x.sizes());
}

void WanDownsample::params(ParamList& list, const std::string& prefix) {
  list.add(prefix + "resample.1.weight", weight, {channels, channels, 3, 3},
           Init::normal(1.0 / std::sqrt(9.0 * static_cast<double>(channels))));
  list.add(prefix + "resample.1.bias", bias, {channels}, Init::zeros());
  if (temporal)
    time_conv.params(list, prefix + "time_conv.", channels, channels, 3, 1, last_tap_copies(channels, channels));
}

at::Tensor WanDownsample::operator()(const at::Tensor& x, CausalCache* cache) const {
  const at::Tensor padded = at::constant_pad_nd(x, {0, 0, 0, 1, 0, 1});  // right and bottom only
  const at::Tensor y = conv_frames(padded, weight, bias, 2, 0);
  if (!temporal) return y;
  const FrameParts joined = extend({y}, 1, cache);
  if (!starts_clip(cache)) return time_conv.every_second(joined);
  return y.size(1) == 1 ? y : at::cat({y.slice(1, 0, 1), time_conv.every_second(joined)}, 1);
}

void WanUpsample::params(ParamList& list, const std::string& prefix) {
  list.add(prefix + "resample.1.weight", weight, {out, channels, 3, 3},
           Init::normal(1.0 / std::sqrt(9.0 * static_cast<double>(channels))));
  list.add(prefix + "resample.1.bias", bias, {out}, Init::zeros());
  if (temporal)
    time_conv.params(list, prefix + "time_conv.", channels, 2 * channels, 3, 1,
                     last_tap_copies(channels, 2 * channels));
}

namespace {

/// Every frame of x [B, T, H, W, C] but the clip's first becomes two; the convolution never sees the first.
at::Tensor double_frames(const CausalConv3d& time_conv, const at::Tensor& x, CausalCache* cache) {
  const bool first = starts_clip(cache);
  const at::Tensor rest = first ? x.slice(1, 1) : x;
  if (rest.size(1) == 0) {
    extend({rest}, 2, cache);
    return x;
  }
  const at::Tensor pairs = time_conv(rest, cache).unflatten(-1, {2, x.size(-1)});  // [B, T, H, W, 2, C]
  const at::Tensor doubled = pairs.permute({0, 1, 4, 2, 3, 5}).flatten(1, 2);      // [B, 2 T, H, W, C]
  return first ? at::cat({x.slice(1, 0, 1), doubled}, 1) : doubled;
}

}  // namespace

at::Tensor WanUpsample::operator()(const at::Tensor& x, CausalCache* cache) const {
  const at::Tensor frames = temporal ? double_frames(time_conv, x, cache) : x;
  if (has_frame_conv(frames, weight))
    return frame_conv({.parts = {frames}, .enlarge = true, .bias = bias}, *filters.of(weight));
  // Nearest pixels at exactly twice the size: the float32 detour of the reference changes nothing.
  const at::Tensor large =
      at::upsample_nearest2d(frames.flatten(0, 1).permute({0, 3, 1, 2}), {2 * frames.size(2), 2 * frames.size(3)});
  return conv_frames(large.permute({0, 2, 3, 1}).unflatten(0, {frames.size(0), frames.size(1)}), weight, bias, 1, 1);
}

}  // namespace tessera
