#include "models/attention/causal_mhla.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/value_type.h"

namespace tessera {
namespace {

constexpr double kRotaryBase = 10000.0, kSmallestMixing = 1e-5;

/// [B, T, H, D] -> [n, B, H, chunk, D], zeros behind the last token.
at::Tensor in_chunks(const at::Tensor& x, int64_t chunk) {
  const int64_t T = x.size(1), chunks = (T + chunk - 1) / chunk;
  const at::Tensor padded = at::constant_pad_nd(x.to(wide_type(x)), {0, 0, 0, 0, 0, chunks * chunk - T});
  return padded.unflatten(1, {chunks, chunk}).permute({1, 0, 3, 2, 4});
}

void check_chunks(int64_t chunks, const at::Tensor& mixing) {
  TORCH_CHECK(chunks <= mixing.size(0) && chunks <= mixing.size(1), "causal MHLA: ", chunks,
              " chunks, but the mixing matrix is ", mixing.sizes());
}

}  // namespace

at::Tensor rotary(const at::Tensor& x, int64_t dim, int64_t first) {
  const int64_t half = dim / 2;
  const auto options = x.options().dtype(at::kDouble);
  const at::Tensor frequencies = at::pow(kRotaryBase, at::arange(half, options) / -static_cast<double>(half));
  const at::Tensor angles = at::arange(first, first + x.size(1), options).unsqueeze(1) * frequencies;  // [T, D / 2]
  const at::Tensor c = angles.cos().to(x.scalar_type()).unsqueeze(1), s = angles.sin().to(x.scalar_type()).unsqueeze(1);
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  return at::cat({a * c - b * s, b * c + a * s, x.narrow(-1, dim, x.size(-1) - dim)}, -1);
}

at::Tensor causal_mhla(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mixing,
                       int64_t chunk, double scale) {
  TORCH_CHECK(q.dim() == 4 && q.sizes() == k.sizes() && v.dim() == 4, "causal MHLA: want [B, T, H, D], got ", q.sizes(),
              ", ", k.sizes(), ", ", v.sizes());
  const at::Tensor queries = in_chunks(q, chunk) * scale, keys = in_chunks(k, chunk), values = in_chunks(v, chunk);
  const int64_t n = queries.size(0);
  check_chunks(n, mixing);
  const at::Tensor M = mixing.narrow(0, 0, n).narrow(1, 0, n).to(queries.scalar_type());
  const at::Tensor summaries = at::matmul(keys.mT(), values);  // [n, B, H, K, V]
  const at::Tensor earlier = at::mm(M.tril(-1), summaries.reshape({n, -1})).view(summaries.sizes());
  const at::Tensor within = at::matmul(queries, keys.mT()).tril() * M.diagonal().view({n, 1, 1, 1, 1});
  const at::Tensor out = at::matmul(queries, earlier) + at::matmul(within, values);  // [n, B, H, chunk, V]
  return out.permute({1, 0, 3, 2, 4}).flatten(1, 2).narrow(1, 0, q.size(1)).to(v.scalar_type());
}

CausalMhlaState::CausalMhlaState(at::Tensor mixing, int64_t chunk, double scale)
    : mixing_(std::move(mixing)), chunk_(chunk), scale_(scale) {}

void CausalMhlaState::begin_chunk(const at::Tensor& like) {
  if (current_.defined()) finished_.push_back(current_);
  const auto i = static_cast<int64_t>(finished_.size());
  check_chunks(i + 1, mixing_);
  current_ = at::zeros_like(like);
  earlier_ = current_;
  for (int64_t j = 0; j < i; ++j) earlier_ = earlier_ + mixing_[i][j] * finished_[static_cast<size_t>(j)];
}

at::Tensor CausalMhlaState::step(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto wide = [](const at::Tensor& x) { return x.to(wide_type(x)); };
  const at::Tensor added = at::matmul(wide(k).unsqueeze(-1), wide(v).unsqueeze(-2));  // [B, H, K, V]
  if (tokens_ % chunk_ == 0) begin_chunk(added);
  current_ = current_ + added;
  const auto i = static_cast<int64_t>(finished_.size());
  ++tokens_;
  const at::Tensor mixed = earlier_ + mixing_[i][i] * current_;
  return at::matmul(wide(q).unsqueeze(-2) * scale_, mixed).squeeze(-2).to(v.scalar_type());
}

CausalMhlaLayer::CausalMhlaLayer(const CausalMhlaConfig& config)
    : config_(config),
      key_dim_(static_cast<int64_t>(static_cast<double>(config.hidden_size) * config.expand_k)),
      value_dim_(static_cast<int64_t>(static_cast<double>(config.hidden_size) * config.expand_v)) {
  TORCH_CHECK(config.heads > 0 && key_dim_ % (2 * config.heads) == 0 && value_dim_ % config.heads == 0,
              "CausalMhlaLayer: keys of ", key_dim_, " and values of ", value_dim_, " channels do not divide into ",
              config.heads, " heads (keys in pairs)");
  if (config_.kv_heads == 0) config_.kv_heads = config.heads;
  TORCH_CHECK(config_.kv_heads > 0 && config.heads % config_.kv_heads == 0, "CausalMhlaLayer: ", config.heads,
              " heads cannot share ", config_.kv_heads, " heads of keys and values");
  TORCH_CHECK(config.conv_size >= 0, "CausalMhlaLayer: conv_size is ", config.conv_size);
  norm_.eps = config.norm_eps;
  q_features_.map = k_features_.map = config.feature_map;
}

void CausalMhlaLayer::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.hidden_size, M = config_.most_chunks, groups = config_.heads / config_.kv_heads;
  q_.params(out, prefix + "q_proj.", C, key_dim_, false);
  k_.params(out, prefix + "k_proj.", C, key_dim_ / groups, false);
  v_.params(out, prefix + "v_proj.", C, value_dim_ / groups, false);
  if (config_.output_gate) g_.params(out, prefix + "g_proj.", C, value_dim_, false);
  o_.params(out, prefix + "o_proj.", value_dim_, C, false);
  if (config_.conv_size > 0) {
    q_conv_.params(out, prefix + "q_conv1d.", key_dim_, config_.conv_size, config_.conv_bias);
    k_conv_.params(out, prefix + "k_conv1d.", key_dim_ / groups, config_.conv_size, config_.conv_bias);
    v_conv_.params(out, prefix + "v_conv1d.", value_dim_ / groups, config_.conv_size, config_.conv_bias);
  }
  q_features_.params(out, prefix + "feature_map_q.", key_dim_ / config_.heads);
  k_features_.params(out, prefix + "feature_map_k.", key_dim_ / config_.heads);
  if (config_.norm_weight)
    norm_.params(out, prefix + (config_.output_gate ? "g_norm_swish_gate." : "g_norm."), value_dim_ / config_.heads);
  out.add_float(prefix + "mixing_matrix", mixing_, {M, M, 1, 1, 1, 1}, Init::of([M] {
                  const at::Tensor lower = at::ones({M, M}).tril();  // each row's mean of what came before
                  return (lower / lower.sum(1, true)).view({M, M, 1, 1, 1, 1});
                }));
}

at::Tensor CausalMhlaLayer::mixing() const {
  return mixing_.flatten(1).clamp(kSmallestMixing, 1.0).tril();
}

double CausalMhlaLayer::scale() const {
  return 1.0 / std::sqrt(static_cast<double>(key_dim_ / config_.heads * features_of_channel(config_.feature_map)));
}

CausalMhlaLayer::Heads CausalMhlaLayer::heads_of(const at::Tensor& x, int64_t first,
                                                 std::array<at::Tensor, 3>& recent) const {
  const int64_t groups = config_.heads / config_.kv_heads, dim = key_dim_ / config_.heads;
  const auto project = [&](const Linear& projection, const CausalConvolution& convolution, at::Tensor& past,
                           int64_t heads) {
    const at::Tensor projected = projection(x);
    const at::Tensor y = config_.conv_size > 0 ? convolution(projected, past) : projected;
    return y.to(wide_type(y)).unflatten(-1, {heads, -1});  // [B, T, heads, D]
  };
  const at::Tensor q = project(q_, q_conv_, recent[0], config_.heads);
  const at::Tensor k = project(k_, k_conv_, recent[1], config_.kv_heads);
  const at::Tensor v = project(v_, v_conv_, recent[2], config_.kv_heads);
  const auto shared = [&](const at::Tensor& y) { return groups > 1 ? y.repeat_interleave(groups, -2) : y; };
  return {rotary(q_features_(q), dim, first), shared(rotary(k_features_(k), dim, first)), shared(v)};
}

at::Tensor CausalMhlaLayer::output(const at::Tensor& heads, const at::Tensor& x) const {
  RmsNorm norm = norm_;
  if (!norm.weight.defined()) norm.weight = at::ones({heads.size(-1)}, heads.options().dtype(at::kFloat));
  const at::Tensor normed = norm.wide(heads).flatten(-2);
  const at::Tensor gated = config_.output_gate ? normed * at::silu(g_(x).to(normed.scalar_type())) : normed;
  return o_(gated.to(x.scalar_type()));
}

at::Tensor CausalMhlaLayer::operator()(const at::Tensor& x) const {
  std::array<at::Tensor, 3> recent;
  const Heads heads = heads_of(x, 0, recent);
  return output(causal_mhla(heads.q, heads.k, heads.v, mixing(), config_.chunk, scale()), x);
}

CausalMhlaState CausalMhlaLayer::begin() const {
  return {mixing(), config_.chunk, scale()};
}

at::Tensor CausalMhlaLayer::step(const at::Tensor& x, CausalMhlaState& state) const {
  const Heads heads = heads_of(x.unsqueeze(1), state.tokens(), state.recent_);
  return output(state.step(heads.q.squeeze(1), heads.k.squeeze(1), heads.v.squeeze(1)), x);
}

}  // namespace tessera
