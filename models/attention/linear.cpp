#include "models/attention/linear.h"

#include <ATen/ATen.h>

#include "kernels/value_type.h"
#include "models/attention/lepe.h"
#include "models/attention/probe.h"

namespace tessera {
namespace {

at::Tensor by_head(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);  // [B, H, N, D]
}

}  // namespace

at::Tensor linear_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                            const Rope* rope) {
  const auto turned = [&](const at::Tensor& x) {
    return rope ? apply_rope(x.unflatten(-1, {heads, -1}), *rope).flatten(2) : x;
  };
  const at::Tensor normalizer = at::matmul(by_head(q, heads), by_head(k, heads).mean(-2, true).mT());  // [B, H, N, 1]
  const auto dtype = v.scalar_type();
  const at::Tensor keys = by_head(turned(k) / static_cast<double>(k.size(1)), heads).to(dtype);
  const at::Tensor summary = at::matmul(keys.mT(), by_head(v, heads));                      // [B, H, D, D]
  const at::Tensor out = at::matmul(by_head(turned(q), heads).to(dtype), summary);          // [B, H, N, D]
  return (out / (normalizer + kLinearNormalizerEps)).to(dtype).transpose(1, 2).flatten(2);  // [B, N, C]
}

at::Tensor focus(const at::Tensor& x, const at::Tensor& scale, double power) {
  const auto wide = wide_type(x);
  const at::Tensor t = (at::relu(x.to(wide)) + kFeatureEps) / at::softplus(scale.to(wide));
  // Dividing by the largest keeps the power within range; the length is put back afterwards.
  const at::Tensor sharp = (t / t.amax(-1, true)).pow(power);
  const auto length = [](const at::Tensor& a) { return a.norm(2, {-1}, true); };
  return sharp * (length(t) / length(sharp));
}

void Focusing::params(ParamList& out, const std::string& prefix) {
  out.add_float(prefix + "scale", scale_, {1, 1, heads_ * head_dim_}, Init::zeros());
  if (!convolves()) return;
  const double bound = 1.0 / static_cast<double>(kernel_);
  out.add(prefix + "dwc.weight", weight_, {head_dim_, 1, kernel_, kernel_}, Init::uniform(bound));
  out.add(prefix + "dwc.bias", bias_, {head_dim_}, Init::zeros());
}

at::Tensor Focusing::features(const at::Tensor& x) const {
  return focus(x, scale_.flatten(), power_);
}

at::Tensor Focusing::convolved(const at::Tensor& v, const Extent3& grid) const {
  return depthwise_2d(v, grid, weight_.repeat({heads_, 1, 1, 1}), bias_.repeat({heads_}));
}

LinearAttention::LinearAttention(AttentionKind kind, const AttentionConfig& config, int64_t heads, int64_t head_dim,
                                 double eps)
    : heads_(heads), projections_(heads * head_dim, eps) {
  if (kind == AttentionKind::kFocused) focusing_.emplace(heads, head_dim, config.focusing_factor, config.kernel_size);
}

void LinearAttention::params(ParamList& out, const std::string& prefix) {
  projections_.params(out, prefix);
  if (focusing_) focusing_->params(out, prefix);
}

at::Tensor LinearAttention::features(const at::Tensor& x) const {
  return focusing_ ? focusing_->features(x) : at::relu(x) + kFeatureEps;
}

at::Tensor LinearAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const auto& p = projections_;
  const at::Tensor q = features(p.norm_q.wide(p.to_q(x))), k = features(p.norm_k.wide(p.to_k(x))), v = p.to_v(x);
  if (AttentionProbe* probe = watching(input)) {
    AttentionView view = linear_view(q, k, heads_, &input.rope, input.grid);
    if (focusing_) see_focusing(view, *focusing_);
    probe->see(view);
  }
  at::Tensor out = linear_attention(q, k, v, heads_, &input.rope);
  if (focusing_ && focusing_->convolves()) out = out + focusing_->convolved(v, input.grid);
  return p.to_out(out);
}

}  // namespace tessera
