#include "models/attention/focused.h"

#include <ATen/ATen.h>

#include "kernels/value_type.h"

namespace tessera {

FocusedAttention::FocusedAttention(const FocusedConfig& config)
    : config_(config), focusing_(config.heads, config.channels / config.heads, config.power, config.kernel) {
  TORCH_CHECK(config.heads > 0 && config.channels % config.heads == 0, "FocusedAttention: ", config.channels,
              " channels do not divide into ", config.heads, " heads");
  TORCH_CHECK(config.separate_queries || config.reduction == 1, "FocusedAttention: a reduction wants separate queries");
  norm_.eps = 1e-5;
}

void FocusedAttention::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.channels, r = config_.reduction;
  if (config_.separate_queries) {
    q_.params(out, prefix + "q.", C, C, config_.bias);
    kv_.params(out, prefix + "kv.", C, 2 * C, config_.bias);
  } else {
    qkv_.params(out, prefix + "qkv.", C, 3 * C, config_.bias);
  }
  if (r > 1) {
    out.add(prefix + "sr.weight", reduce_weight_, {C, C, r, r});
    out.add(prefix + "sr.bias", reduce_bias_, {C}, Init::zeros());
    norm_.params(out, prefix + "norm.", C);
  }
  out.add_float(prefix + "positional_encoding", positions_, {1, volume(config_.grid) / (r * r), C}, Init::zeros());
  focusing_.params(out, prefix);
  proj_.params(out, prefix + "proj.", C, C);
}

at::Tensor FocusedAttention::reduced(const at::Tensor& x) const {
  if (config_.reduction == 1) return x;
  const auto [T, H, W] = config_.grid;
  const at::Tensor frames = x.mT().reshape({x.size(0), x.size(2), H, W});  // [B, C, H, W]
  const auto dtype = x.scalar_type();
  const at::Tensor out = at::conv2d(frames, reduce_weight_.to(dtype), reduce_bias_.to(dtype), config_.reduction);
  return norm_(out.flatten(2).mT());  // [B, N / r^2, C]
}

at::Tensor FocusedAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  TORCH_CHECK(input.grid == config_.grid && x.size(1) == volume(config_.grid),
              "FocusedAttention: the position table is ", "for ", at::IntArrayRef(config_.grid), " tokens, got ",
              at::IntArrayRef(input.grid), " and x ", x.sizes());
  const auto parts = config_.separate_queries ? kv_(reduced(x)).chunk(2, -1) : qkv_(x).chunk(3, -1);
  const at::Tensor q = config_.separate_queries ? q_(x) : parts[0];
  const at::Tensor& k = parts[parts.size() - 2];
  const at::Tensor& v = parts.back();
  const at::Tensor placed = k.to(wide_type(k)) + positions_;
  const at::Tensor out =
      linear_attention(focusing_.features(q), focusing_.features(placed), v, config_.heads);  // [B, N, C]
  const at::Tensor stretched =
      v.size(1) == x.size(1) ? v : at::upsample_linear1d(v.mT(), {x.size(1)}, /*align_corners=*/false).mT();
  return proj_(out + focusing_.convolved(stretched, config_.grid));
}

}  // namespace tessera
