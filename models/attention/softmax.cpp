#include "models/attention/softmax.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/instruction_set.h"
#include "kernels/norm.h"
#include "kernels/tiled_attention.h"
#include "kernels/value_type.h"
#include "models/attention/probe.h"
#include "models/attention/rope.h"

namespace tessera {
namespace {

constexpr int64_t kFewKeys = 128;

/// RMS norm of x [B, N, heads * D] over all heads and rotation of each, as `dtype`; one pass on a CPU.
at::Tensor rotated(const at::Tensor& x, const RmsNorm& norm, const Rope& rope, int64_t heads, at::ScalarType dtype) {
  if (!can_vectorize(x)) return apply_rope(norm.wide(x).unflatten(-1, {heads, -1}), rope).flatten(2).to(dtype);
  const int64_t B = x.size(0), N = x.size(1), C = x.size(2);
  const at::Tensor tokens = at::arange(N, at::kLong) * C;
  const NormLayout layout{.rows = B * N,
                          .tokens = N,
                          .heads = heads,
                          .head_dim = C / heads,
                          .x_sample = N * C,
                          .x_head = C / heads,
                          .y_sample = N * C,
                          .y_head = C / heads,
                          .x_token = tokens,
                          .y_token = tokens,
                          .cosines = rope.cosines,
                          .sines = rope.sines,
                          .features = false,
                          .y_shape = {B, N, C}};
  return norm_and_move(x.contiguous(), norm.weight, norm.eps, layout, dtype, /*with_unrotated=*/false).first;
}

}  // namespace

bool rounds_queries(const at::Tensor& v, int64_t heads) {
  // Where only the library uses tile registers, it is several times faster than our kernels for AVX-512.
  return (instruction_set() >= InstructionSet::kAmx || !has_tile_registers()) && can_tile_attention(v, v, v, heads);
}

at::Tensor softmax_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  const auto split = [&](const at::Tensor& t) { return t.unflatten(-1, {heads, -1}).transpose(1, 2); };  // [B, H, N, D]
  const auto dtype = v.scalar_type();
  if (!needs_gradient(q) && !needs_gradient(k) && rounds_queries(v, heads))
    return tiled_attention(q.to(dtype), k.to(dtype), v, heads);
  // On a CPU the gradient of the library's tiled kernel costs several times that of plain products when the keys are
  // few.
  if (q.is_cpu() && k.size(1) <= kFewKeys) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1) / heads));
    const at::Tensor scores = at::matmul(split(q.to(wide_type(q)) * scale), split(k.to(wide_type(k))).mT());
    return at::matmul(scores.softmax(-1).to(v.scalar_type()), split(v)).transpose(1, 2).flatten(2);
  }
  return at::scaled_dot_product_attention(split(q.to(dtype)), split(k.to(dtype)), split(v)).transpose(1, 2).flatten(2);
}

at::Tensor SoftmaxAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const auto& p = projections_;
  AttentionProbe* probe = watching(input);
  const at::Tensor v = p.to_v(x);
  const auto dtype = !probe && rounds_queries(v, heads_) ? v.scalar_type() : wide_type(x);
  const at::Tensor q = rotated(p.to_q(x), p.norm_q, input.rope, heads_, dtype);
  const at::Tensor k = rotated(p.to_k(x), p.norm_k, input.rope, heads_, dtype);
  if (probe) probe->see(softmax_view(q, k, heads_, input.grid));
  return p.to_out(softmax_attention(q, k, v, heads_));
}

}  // namespace tessera
