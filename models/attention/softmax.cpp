#include "models/attention/softmax.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/value_type.h"
#include "models/attention/probe.h"
#include "models/attention/rope.h"

namespace tessera {
namespace {

constexpr int64_t kFewKeys = 128;

}  // namespace

at::Tensor softmax_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  const auto split = [&](const at::Tensor& t) { return t.unflatten(-1, {heads, -1}).transpose(1, 2); };  // [B, H, N, D]
  // On a CPU the gradient of the tiled kernel costs several times that of plain products when the keys are few.
  if (q.is_cpu() && k.size(1) <= kFewKeys) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1) / heads));
    const at::Tensor scores = at::matmul(split(q.to(wide_type(q)) * scale), split(k.to(wide_type(k))).mT());
    return at::matmul(scores.softmax(-1).to(v.scalar_type()), split(v)).transpose(1, 2).flatten(2);
  }
  const auto dtype = v.scalar_type();
  return at::scaled_dot_product_attention(split(q.to(dtype)), split(k.to(dtype)), split(v)).transpose(1, 2).flatten(2);
}

at::Tensor SoftmaxAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const auto& p = projections_;
  const auto rotated = [&](const at::Tensor& t) {
    return apply_rope(t.unflatten(-1, {heads_, -1}), input.rope).flatten(2);
  };
  const at::Tensor q = rotated(p.norm_q.wide(p.to_q(x)));
  const at::Tensor k = rotated(p.norm_k.wide(p.to_k(x)));
  if (AttentionProbe* probe = watching(input)) probe->see(softmax_view(q, k, heads_, input.grid));
  return p.to_out(softmax_attention(q, k, p.to_v(x), heads_));
}

}  // namespace tessera
