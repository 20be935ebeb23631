#include "models/attention/mhla.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/value_type.h"
#include "models/attention/blocks.h"
#include "models/attention/lepe.h"
#include "models/attention/mixing.h"
#include "models/attention/probe.h"

namespace tessera {
namespace {

constexpr double kNormalizerEps = 1e-6;

BlockNormalizer form_of(Normalizer normalizer) {
  switch (normalizer) {
    case Normalizer::kProducts:
      return BlockNormalizer::kProducts;
    case Normalizer::kSums:
      return BlockNormalizer::kSums;
    case Normalizer::kNone:
      break;
  }
  return BlockNormalizer::kNone;
}

}  // namespace

at::Tensor mix_blocks(const at::Tensor& mixing, const at::Tensor& x) {
  return at::mm(mixing.to(x.scalar_type()), x.reshape({x.size(0), -1})).view(x.sizes());
}

at::Tensor mhla_normalizer(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mixing, const BlockGrid& cut,
                           Normalizer form) {
  if (const auto* kernels = device_kernels(q); kernels && !needs_gradient(k) && q.scalar_type() == at::kFloat) {
    const at::Tensor sums = device_key_sums(*kernels, k);
    if (form == Normalizer::kSums)
      return device_products(*kernels, q, mix_blocks(mixing, sums), kNormalizerEps, nullptr);
    const GridBlocks grid = grid_blocks(cut);
    return mix_blocks(mixing, device_products(*kernels, q, sums, 0, cut.ragged() ? &grid : nullptr)) + kNormalizerEps;
  }
  const at::Tensor key_sums = k.sum(-2, /*keepdim=*/true);  // [M, B, H, 1, D]
  if (form == Normalizer::kSums) return at::matmul(q, mix_blocks(mixing, key_sums).mT()) + kNormalizerEps;
  at::Tensor products = at::matmul(q, key_sums.mT());  // [M, B, H, P, 1]
  if (cut.ragged()) {
    const at::Tensor mask = block_mask(cut, q.options());
    products = products + (1 - mask) * (products.sum(-2, true) / mask.sum(-2, true));
  }
  return mix_blocks(mixing, products) + kNormalizerEps;
}

at::Tensor fused_mhla(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mixing,
                      const BlockGrid& cut, Normalizer form, BlockAttention plan, NormalizerStats* stats) {
  plan.tokens = tokens_of_blocks(cut);
  plan.mixing = mixing;
  plan.normalizer = form_of(form);
  plan.normalizer_eps = kNormalizerEps;
  plan.least_normalizer = kLeastNormalizer;
  const BlockAttentionResult result = block_attention(q, k, v, plan);
  if (stats && result.normalizer.defined()) stats->count(result.normalizer.transpose(0, 1));  // [H, B, M, P]
  return result.out;
}

MhlaAttention::MhlaAttention(const AttentionConfig& config, int64_t heads, int64_t head_dim, double eps)
    : config_(config), heads_(heads), head_dim_(head_dim), projections_(heads * head_dim, eps) {
  head_norm_.eps = eps;
}

void MhlaAttention::params(ParamList& out, const std::string& prefix) {
  const int64_t C = heads_ * head_dim_;
  projections_.params(out, prefix);
  mixing_params(out, prefix, mixing_, config_);
  head_norm_.params(out, prefix + "g_norm.", head_dim_);
  if (config_.gated)
    gate_.block_params(out, prefix + "g.", C, C, true, Init::uniform(1.0 / std::sqrt(static_cast<double>(C))));
  if (config_.lepe) {
    out.add(prefix + "lepe.weight", lepe_weight_, {C, 1, 3, 3, 3}, Init::zeros());
    out.add(prefix + "lepe.bias", lepe_bias_, {C}, Init::zeros());
  }
}

/// The result of the heads before LePE, [B, N, C], step by step.
at::Tensor MhlaAttention::composed(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v,
                                   const at::Tensor& gate, const CallMixing& mixing, const BlockGrid& cut,
                                   const AttentionInput& input) const {
  const auto& p = projections_;
  const bool normalized = config_.normalizer != Normalizer::kNone;
  const BlockFeatures q = block_features(q_in, p.norm_q, input.rope, heads_, cut, normalized);
  const BlockFeatures k = block_features(k_in, p.norm_k, input.rope, heads_, cut, normalized);
  const at::Tensor summaries = at::matmul(k.rotated.mT(), group_blocks(v, heads_, cut));  // [M, B, H, D, D]
  const at::Tensor out = at::matmul(q.rotated, mix_blocks(mixing.narrow, summaries));     // [M, B, H, P, D]
  at::Tensor n;
  if (normalized) {
    n = mhla_normalizer(q.unrotated, k.unrotated, mixing.wide, cut, config_.normalizer);
    if (input.stats) input.stats->count(n);
  }
  if (AttentionProbe* probe = watching(input)) {
    AttentionView view = mhla_view(q.rotated, k.rotated, mixing.wide, n, cut);
    if (config_.lepe) view.convolution = convolution_matrix(lepe_weight_, input.grid);
    probe->see(view);
  }
  return ungroup_results(out, n, &head_norm_, gate, cut, v.scalar_type());
}

/// The same in one operator.
at::Tensor MhlaAttention::fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& gate,
                                const at::Tensor& mixing, const BlockGrid& cut, const AttentionInput& input) const {
  const auto& p = projections_;
  return fused_mhla(q, k, v, mixing, cut, config_.normalizer,
                    {.heads = heads_,
                     .q_norm = p.norm_q.weight,
                     .k_norm = p.norm_k.weight,
                     .norm_eps = p.norm_q.eps,
                     .rotation = at::view_as_real(input.rope.table).view({-1, head_dim_}),
                     .head_norm = head_norm_.weight,
                     .head_eps = head_norm_.eps,
                     .gate = gate},
                    input.stats);
}

bool MhlaAttention::wants_gradient() const {
  const auto& p = projections_;
  return needs_gradient(mixing_) || needs_gradient(p.norm_q.weight) || needs_gradient(p.norm_k.weight) ||
         needs_gradient(head_norm_.weight);
}

at::Tensor MhlaAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const auto& p = projections_;
  const BlockGrid cut = cut_into_blocks(config_, input.grid);
  const CallMixing mixing = grid_mixing_(mixing_, config_, cut, x);
  const at::Tensor q = p.to_q(x), k = p.to_k(x), v = p.to_v(x), gate = config_.gated ? gate_(x) : at::Tensor();
  at::Tensor out;  // [B, N, C]
  if (!watching(input) && !wants_gradient() && !(gate.defined() && needs_gradient(gate)) &&
      can_attend_blocks(q, k, v, heads_)) {
    out = fused(q, k, v, gate, mixing.wide, cut, input);
  } else {
    out = composed(q, k, v, gate, mixing, cut, input);
  }
  if (config_.lepe) out = add_depthwise(out, v, input.grid, lepe_weight_, lepe_bias_);
  return p.to_out(out);
}

}  // namespace tessera
