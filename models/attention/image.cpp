#include "models/attention/image.h"

#include <ATen/ATen.h>

#include <limits>

#include "kernels/value_type.h"
#include "models/attention/lepe.h"
#include "models/attention/linear.h"
#include "models/attention/mhla.h"
#include "models/attention/mixing.h"
#include "models/attention/probe.h"
#include "models/attention/softmax.h"

namespace tessera {
namespace {

constexpr double kLayerNormEps = 1e-5;
constexpr double kRmsNormEps = std::numeric_limits<float>::epsilon();  // torch.nn.RMSNorm without an eps

void add_projections(ParamList& out, const std::string& prefix, int64_t channels, bool bias, Linear& q, Linear& k,
                     Linear& v, Linear& to_out) {
  const Init init = xavier(channels, channels);
  q.block_params(out, prefix + "to_q.", channels, channels, bias, init);
  k.block_params(out, prefix + "to_k.", channels, channels, bias, init);
  v.block_params(out, prefix + "to_v.", channels, channels, bias, init);
  to_out.block_params(out, prefix + "to_out.0.", channels, channels, true, init);
}

/// A depthwise k x k kernel that copies.
at::Tensor center_tap(int64_t channels, int64_t k) {
  at::Tensor weight = at::zeros({channels, 1, k, k});
  weight.select(3, k / 2).select(2, k / 2).fill_(1);
  return weight;
}

}  // namespace

std::unique_ptr<SelfAttention> make_image_attention(AttentionKind kind, const AttentionConfig& config, int64_t heads,
                                                    int64_t head_dim, bool bias) {
  if (kind == AttentionKind::kMhla) return std::make_unique<ImageMhla>(config, heads, head_dim, bias);
  return std::make_unique<ImageAttention>(kind, config, heads, head_dim, bias);
}

ImageAttention::ImageAttention(AttentionKind kind, const AttentionConfig& config, int64_t heads, int64_t head_dim,
                               bool bias)
    : kind_(kind), heads_(heads), channels_(heads * head_dim), bias_(bias) {
  if (kind == AttentionKind::kFocused) focusing_.emplace(heads, head_dim, config.focusing_factor, config.kernel_size);
}

void ImageAttention::params(ParamList& out, const std::string& prefix) {
  add_projections(out, prefix, channels_, bias_, to_q_, to_k_, to_v_, to_out_);
  if (focusing_) focusing_->params(out, prefix);
}

at::Tensor ImageAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const at::Tensor q = to_q_(x), k = to_k_(x), v = to_v_(x);
  AttentionProbe* probe = watching(input);
  if (kind_ == AttentionKind::kSoftmax) {
    if (probe) probe->see(softmax_view(q, k, heads_, input.grid));
    return to_out_(softmax_attention(q, k, v, heads_));
  }
  const auto features = [&](const at::Tensor& t) {
    return focusing_ ? focusing_->features(t) : at::relu(t.to(wide_type(t))) + kFeatureEps;
  };
  if (probe) {
    AttentionView view = linear_view(features(q), features(k), heads_, nullptr, input.grid);
    if (focusing_) see_focusing(view, *focusing_);
    probe->see(view);
  }
  const at::Tensor out = linear_attention(features(q), features(k), v, heads_);
  return to_out_(focusing_ && focusing_->convolves() ? out + focusing_->convolved(v, input.grid) : out);
}

ImageMhla::ImageMhla(const AttentionConfig& config, int64_t heads, int64_t head_dim, bool bias)
    : config_(config), heads_(heads), channels_(heads * head_dim), bias_(bias) {
  norm_.eps = kLayerNormEps;
  norm_q_.eps = norm_k_.eps = kRmsNormEps;
}

void ImageMhla::params(ParamList& out, const std::string& prefix) {
  const int64_t C = channels_;
  norm_.params(out, prefix + "norm.", C);
  add_projections(out, prefix, C, bias_, to_q_, to_k_, to_v_, to_out_);
  if (config_.qk_norm) {
    norm_q_.params(out, prefix + "norm_q.", C);
    norm_k_.params(out, prefix + "norm_k.", C);
  }
  mixing_params(out, prefix, mixing_, config_);
  if (config_.gated) gate_.params(out, prefix + "g.", C, C);
  if (config_.lepe) {
    const int64_t k = config_.lepe_kernel;
    out.add(prefix + "lepe.weight", lepe_weight_, {C, 1, k, k}, Init::of([C, k] { return center_tap(C, k); }));
    out.add(prefix + "lepe.bias", lepe_bias_, {C}, Init::zeros());
  }
}

at::Tensor ImageMhla::features(const at::Tensor& x, const RmsNorm& norm, const BlockGrid& cut) const {
  const at::Tensor weight = config_.qk_norm ? norm.weight : at::Tensor();
  if (const auto* kernels = device_kernels(x); kernels && !(weight.defined() && needs_gradient(weight)))
    return device_block_features(*kernels, x, {weight, norm.eps, {}, {}, heads_}, grid_blocks(cut), at::kFloat, false)
        .first;
  const at::Tensor normed = config_.qk_norm ? norm.wide(x) : x.to(wide_type(x));
  return group_blocks(at::relu(normed) + kFeatureEps, heads_, cut);
}

/// The result of the heads before gate and LePE, [B, N, C], step by step.
at::Tensor ImageMhla::composed(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v,
                               const CallMixing& mixing, const BlockGrid& cut, const AttentionInput& input) const {
  const at::Tensor q = features(q_in, norm_q_, cut), k = features(k_in, norm_k_, cut);
  const at::Tensor summaries = at::matmul(k.mT(), group_blocks(v.to(wide_type(v)), heads_, cut));  // [M, B, H, D, D]
  const at::Tensor out = at::matmul(q, mix_blocks(mixing.wide, summaries));                        // [M, B, H, P, D]
  at::Tensor n;
  if (config_.normalizer != Normalizer::kNone) {
    n = mhla_normalizer(q, k, mixing.wide, cut, config_.normalizer);
    if (input.stats) input.stats->count(n);
  }
  if (AttentionProbe* probe = watching(input)) {
    AttentionView view = mhla_view(q, k, mixing.wide, n, cut);
    if (config_.lepe) view.convolution = convolution_matrix(lepe_weight_, input.grid);
    probe->see(view);
  }
  return ungroup_results(out, n, nullptr, {}, cut, v.scalar_type());
}

bool ImageMhla::wants_gradient() const {
  return needs_gradient(mixing_) ||
         (config_.qk_norm && (needs_gradient(norm_q_.weight) || needs_gradient(norm_k_.weight)));
}

at::Tensor ImageMhla::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const at::Tensor h = norm_(x);
  const BlockGrid cut = cut_into_blocks(config_, input.grid);
  const CallMixing mixing = grid_mixing_(mixing_, config_, cut, x);
  const at::Tensor q = to_q_(h), k = to_k_(h), v = to_v_(h);
  const bool fused = !watching(input) && !wants_gradient() && can_attend_blocks(q, k, v, heads_);
  const BlockAttention plan{
      .heads = heads_, .q_norm = norm_q_.weight, .k_norm = norm_k_.weight, .norm_eps = norm_q_.eps};
  at::Tensor out = fused ? fused_mhla(q, k, v, mixing.wide, cut, config_.normalizer, plan, input.stats)
                         : composed(q, k, v, mixing, cut, input);  // [B, N, C]
  if (config_.gated) out = out * at::silu(gate_(h));
  return to_out_(config_.lepe ? add_depthwise(out, v, input.grid, lepe_weight_, lepe_bias_) : out);
}

}  // namespace tessera
