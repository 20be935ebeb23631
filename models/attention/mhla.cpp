#include "models/attention/mhla.h"

#include <ATen/ATen.h>

#include "models/attention/lepe.h"
#include "models/attention/mixing.h"
#include "models/rope.h"

namespace tessera {
namespace {

constexpr double kKernelEps = 1e-6;
constexpr double kSmallestNormalizer = 1e-6;

/// [B, N, H, D] in raster order -> [B, blocks, size along each axis interleaved, H, D], padded with zeros.
at::Tensor pad_grid(const at::Tensor& x, const BlockGrid& cut) {
  const auto [t, h, w] = cut.grid;
  at::Tensor grid = x.view({x.size(0), t, h, w, x.size(2), x.size(3)});
  if (cut.ragged())
    grid = at::constant_pad_nd(grid, {0, 0, 0, 0, 0, cut.padded[2] - w, 0, cut.padded[1] - h, 0, cut.padded[0] - t});
  return grid.view({x.size(0), cut.blocks[0], cut.size[0], cut.blocks[1], cut.size[1], cut.blocks[2], cut.size[2],
                    x.size(2), x.size(3)});
}

/// [B, N, H, D] -> [M, B, H, P, D]; P tokens a block, blocks first so that mixing is one matrix product.
at::Tensor to_blocks(const at::Tensor& x, const BlockGrid& cut) {
  return pad_grid(x, cut)
      .permute({1, 3, 5, 0, 7, 2, 4, 6, 8})
      .reshape({volume(cut.blocks), x.size(0), x.size(2), volume(cut.size), x.size(3)});
}

/// The inverse: [M, B, H, P, D] -> [B, N, H * D], padding dropped.
at::Tensor from_blocks(const at::Tensor& x, const BlockGrid& cut) {
  const int64_t B = x.size(1), H = x.size(2), D = x.size(4);
  const auto [bt, bh, bw] = cut.blocks;
  const auto [st, sh, sw] = cut.size;
  at::Tensor grid = x.view({bt, bh, bw, B, H, st, sh, sw, D})
                        .permute({3, 0, 5, 1, 6, 2, 7, 4, 8})
                        .reshape({B, cut.padded[0], cut.padded[1], cut.padded[2], H * D});
  for (int64_t axis = 0; axis < 3; ++axis) grid = grid.narrow(axis + 1, 0, cut.grid[axis]);
  return grid.reshape({B, volume(cut.grid), H * D});
}

/// mixing [M, M] over the first axis of x [M, ...].
at::Tensor mix_blocks(const at::Tensor& mixing, const at::Tensor& x) {
  return at::mm(mixing, x.reshape({x.size(0), -1})).view(x.sizes());
}

/// 1 for the tokens of the grid, 0 for padding: [M, 1, 1, P, 1].
at::Tensor token_mask(const BlockGrid& cut, const at::TensorOptions& options) {
  return to_blocks(at::ones({1, volume(cut.grid), 1, 1}, options), cut);
}

/// The denominator before its eps, [M, B, H, P, 1], from un-rotated q and k in blocks.
at::Tensor normalizer_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mixing, const BlockGrid& cut,
                         Normalizer form) {
  const at::Tensor key_sums = k.sum(-2, /*keepdim=*/true);  // [M, B, H, 1, D]
  if (form == Normalizer::kSums) return at::matmul(q, mix_blocks(mixing, key_sums).mT());
  at::Tensor products = at::matmul(q, key_sums.mT());  // [M, B, H, P, 1]
  if (cut.ragged()) {
    const at::Tensor mask = token_mask(cut, q.options());
    products = products + (1 - mask) * (products.sum(-2, true) / mask.sum(-2, true));
  }
  return mix_blocks(mixing, products);
}

/// At least kSmallestNormalizer away from zero, the sign kept; a larger magnitude passes bit for bit.
at::Tensor guarded(const at::Tensor& n) {
  return at::copysign(n.abs().clamp_min(kSmallestNormalizer), n);
}

}  // namespace

MhlaAttention::MhlaAttention(const AttentionConfig& config, int64_t heads, int64_t head_dim, double eps)
    : config_(config), heads_(heads), head_dim_(head_dim), projections_(heads * head_dim, eps) {
  head_norm_.eps = eps;
}

void MhlaAttention::params(ParamList& out, const std::string& prefix) {
  const int64_t C = heads_ * head_dim_, M = volume(config_.block_layout);
  projections_.params(out, prefix);
  out.add_float(prefix + "block_attn.conv.weight", mixing_, {M, M, 1, 1},
                Init::of([layout = config_.block_layout, transform = config_.transform, M] {
                  return initial_mixing(layout, transform).view({M, M, 1, 1});
                }));
  head_norm_.params(out, prefix + "g_norm.", head_dim_);
  if (config_.gated) gate_.params(out, prefix + "g.", C, C);
  if (config_.lepe) {
    out.add(prefix + "lepe.weight", lepe_weight_, {C, 1, 3, 3, 3}, Init::zeros());
    out.add(prefix + "lepe.bias", lepe_bias_, {C}, Init::zeros());
  }
}

at::Tensor MhlaAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const auto& p = projections_;
  const auto wide = wide_type(x);
  const BlockGrid cut = cut_into_blocks(config_, input.grid);
  const at::Tensor mixing = mixing_for_blocks(mixing_.to(wide).flatten(1), config_.block_layout, cut.blocks);
  const auto kernel = [&](const at::Tensor& t) {
    return (at::relu(t) + kKernelEps).unflatten(-1, {heads_, -1});  // [B, N, H, D]
  };
  const at::Tensor q = kernel(p.norm_q.wide(p.to_q(x))), k = kernel(p.norm_k.wide(p.to_k(x))), v = p.to_v(x);
  const at::Tensor v_heads = v.to(wide).unflatten(-1, {heads_, -1});

  const at::Tensor keys = to_blocks(apply_rope(k, input.rope), cut);            // [M, B, H, P, D]
  const at::Tensor summaries = at::matmul(keys.mT(), to_blocks(v_heads, cut));  // [M, B, H, D, D]
  at::Tensor out = at::matmul(to_blocks(apply_rope(q, input.rope), cut), mix_blocks(mixing, summaries));
  if (config_.normalizer != Normalizer::kNone) {
    const at::Tensor n =
        normalizer_of(to_blocks(q, cut), to_blocks(k, cut), mixing, cut, config_.normalizer) + kKernelEps;
    if (input.stats) input.stats->count(n);
    out = out / guarded(n);
  }
  out = from_blocks(head_norm_(out).to(x.scalar_type()), cut);  // [B, N, C]
  if (config_.gated) out = out * at::silu(gate_(x));
  if (config_.lepe) out = out + depthwise_3d(v, input.grid, lepe_weight_, lepe_bias_);
  return p.to_out(out);
}

}  // namespace tessera
