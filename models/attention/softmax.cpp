#include "models/attention/softmax.h"

#include <ATen/ATen.h>

#include "models/rope.h"

namespace tessera {

at::Tensor softmax_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  const auto split = [&](const at::Tensor& t) { return t.unflatten(-1, {heads, -1}).transpose(1, 2); };  // [B, H, N, D]
  return at::scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2);
}

at::Tensor SoftmaxAttention::operator()(const at::Tensor& x, const AttentionInput& input) const {
  const auto& p = projections_;
  const auto rotated = [&](const at::Tensor& t) {
    return apply_rope(t.unflatten(-1, {heads_, -1}), input.rope).to(x.scalar_type()).flatten(2);
  };
  const at::Tensor q = rotated(p.norm_q(p.to_q(x)));
  const at::Tensor k = rotated(p.norm_k(p.to_k(x)));
  return p.to_out(softmax_attention(q, k, p.to_v(x), heads_));
}

}  // namespace tessera
