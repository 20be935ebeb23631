#include "models/umt5/umt5.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/size_limits.h"
#include "kernels/packed.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

constexpr int64_t kScoresAtOnce = 1 << 21;

double inverse_root(int64_t n) {
  return 1.0 / std::sqrt(static_cast<double>(n));
}

/// Position bias of an untrained layer, [buckets, heads] in float32: heads 0, 4, ... prefer the previous token,
/// 1, 5, ... the next, 2, 6, ... the near ones; 3, 7, ... have no preference.
at::Tensor neighbor_bias(int64_t buckets, int64_t heads, int64_t max_distance) {
  constexpr double kFarthest = -6.0;  // e^-6: far tokens are faint, and still reached by the gradient
  const at::Tensor table = umt5_position_buckets(max_distance + 1, buckets, max_distance);
  const auto bucket = table.accessor<int64_t, 2>();
  at::Tensor bias = at::full({buckets, heads}, kFarthest, at::kFloat);
  auto out = bias.accessor<float, 2>();
  const auto fill = [&](int64_t b, int64_t offset) {  // offset = key - query
    for (int64_t head = 0; head < heads; ++head) {
      const double away = head % 4 == 0   ? std::abs(offset + 1)
                          : head % 4 == 1 ? std::abs(offset - 1)
                                          : std::abs(offset);
      const double slope = head % 4 == 2 ? 0.5 : head % 4 == 3 ? 0.0 : 1.0;
      out[b][head] = static_cast<float>(std::max(kFarthest, -slope * away));
    }
  };
  for (int64_t distance = max_distance; distance >= 0; --distance) {
    fill(bucket[0][distance], distance);
    fill(bucket[distance][0], -distance);
  }
  return bias;
}

}  // namespace

Umt5Config Umt5Config::from_json(const JsonConfig& json) {
  Umt5Config config;
  config.vocab_size = read_size(json, "vocab_size", limits::kVocabulary);
  config.d_model = read_size(json, "d_model", limits::kWidth);
  config.d_kv = read_size(json, "d_kv", limits::kWidth);
  config.d_ff = read_size(json, "d_ff", limits::kWidth);
  config.num_layers = read_size(json, "num_layers", limits::kLayers);
  config.num_heads = read_size(json, "num_heads", limits::kHeads);
  config.relative_attention_num_buckets =
      read_size(json, "relative_attention_num_buckets", limits::kDistances, config.relative_attention_num_buckets);
  config.relative_attention_max_distance =
      read_size(json, "relative_attention_max_distance", limits::kDistances, config.relative_attention_max_distance);
  config.layer_norm_epsilon = json.number("layer_norm_epsilon", config.layer_norm_epsilon);
  const int64_t buckets = config.relative_attention_num_buckets;
  if (buckets < 4 || buckets % 4 != 0) json.fail("relative_attention_num_buckets", "must be a positive multiple of 4");
  if (config.relative_attention_max_distance <= buckets / 4)
    json.fail("relative_attention_max_distance", "must exceed a quarter of relative_attention_num_buckets");
  if (json.text("feed_forward_proj", "gated-gelu") != "gated-gelu")
    json.fail("feed_forward_proj", "must be \"gated-gelu\"");
  return config;
}

at::Tensor umt5_position_buckets(int64_t length, int64_t buckets, int64_t max_distance) {
  TORCH_CHECK(length >= 1 && buckets >= 4 && max_distance > buckets / 4, "umt5_position_buckets: bad length ", length,
              ", buckets ", buckets, " or max_distance ", max_distance);
  const int64_t half = buckets / 2, exact = half / 2;
  const at::Tensor position = at::arange(length, at::kLong);
  const at::Tensor offset = position.unsqueeze(0) - position.unsqueeze(1);  // [query, key]
  const at::Tensor distance = offset.abs();
  const double range = std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const at::Tensor grown =
      at::log(distance.clamp_min(1).to(at::kFloat) / exact) / range * static_cast<double>(half - exact);
  const at::Tensor logarithmic = (grown.to(at::kLong) + exact).clamp_max(half - 1);
  return (offset > 0).to(at::kLong) * half + at::where(distance < exact, distance, logarithmic);
}

void Umt5Attention::params(ParamList& out, const std::string& prefix, const Umt5Config& config) {
  heads = config.num_heads;
  const int64_t width = config.d_model, inner = config.num_heads * config.d_kv;
  const Init to_width = Init::normal(inverse_root(width));
  q.block_params(out, prefix + "q.", width, inner, false, Init::normal(inverse_root(width * config.d_kv)));
  k.block_params(out, prefix + "k.", width, inner, false, to_width);
  v.block_params(out, prefix + "v.", width, inner, false, to_width);
  o.block_params(out, prefix + "o.", inner, width, false, Init::normal(inverse_root(inner)));
  const int64_t buckets = config.relative_attention_num_buckets, farthest = config.relative_attention_max_distance;
  out.add_float(prefix + "relative_attention_bias.weight", relative_attention_bias, {buckets, heads},
                Init::of([buckets, heads = heads, farthest] { return neighbor_bias(buckets, heads, farthest); }));
}

at::Tensor Umt5Attention::operator()(const at::Tensor& x, const at::Tensor& buckets,
                                     const at::Tensor& hidden_keys) const {
  const int64_t B = x.size(0), L = x.size(1);
  const auto split = [&](const at::Tensor& t) { return t.view({B, L, heads, -1}).transpose(1, 2); };  // [B, H, L, D]
  const at::Tensor queries = split(q(x)), keys = split(k(x)), values = split(v(x));
  const at::Tensor table = relative_attention_bias.to(at::kFloat);
  // On a CPU few heads at a time, unless gradients want all scores: they stay in a cache.
  const bool whole = !x.is_cpu() || needs_gradient(x) || needs_gradient(table);
  const int64_t most = whole ? heads : std::clamp<int64_t>(kScoresAtOnce / (B * L * L), 1, heads);
  std::vector<at::Tensor> seen;  // [B, h, L, D] each
  for (int64_t first = 0; first < heads; first += most) {
    const int64_t count = std::min(most, heads - first);
    const auto some = [&](const at::Tensor& t) { return t.narrow(1, first, count); };
    const at::Tensor bias = whole ? gather_rows(table, buckets).permute({2, 0, 1})  // [h, L, L]
                                  : some(table).t().contiguous().index_select(1, buckets.flatten()).view({-1, L, L});
    at::Tensor scores = some(queries).to(at::kFloat).matmul(some(keys).to(at::kFloat).mT()) + bias;
    if (hidden_keys.defined()) scores = scores.masked_fill(hidden_keys, std::numeric_limits<float>::lowest());
    seen.push_back(scores.softmax(-1).to(x.scalar_type()).matmul(some(values)));
  }
  return o(at::cat(seen, 1).transpose(1, 2).reshape({B, L, -1}));
}

void Umt5FeedForward::params(ParamList& out, const std::string& prefix, const Umt5Config& config) {
  const Init into = Init::normal(inverse_root(config.d_model));
  wi_0.block_params(out, prefix + "wi_0.", config.d_model, config.d_ff, false, into);
  wi_1.block_params(out, prefix + "wi_1.", config.d_model, config.d_ff, false, into);
  wo.block_params(out, prefix + "wo.", config.d_ff, config.d_model, false, Init::normal(inverse_root(config.d_ff)));
}

at::Tensor Umt5FeedForward::operator()(const at::Tensor& x) const {
  return wo(wi_0.gelu(x) * wi_1(x));
}

void Umt5Block::params(ParamList& out, const std::string& prefix, const Umt5Config& config) {
  attention_norm.eps = feed_forward_norm.eps = config.layer_norm_epsilon;
  attention_norm.params(out, prefix + "layer.0.layer_norm.", config.d_model);
  attention.params(out, prefix + "layer.0.SelfAttention.", config);
  feed_forward_norm.params(out, prefix + "layer.1.layer_norm.", config.d_model);
  feed_forward.params(out, prefix + "layer.1.DenseReluDense.", config);
}

at::Tensor Umt5Block::operator()(const at::Tensor& x, const at::Tensor& buckets, const at::Tensor& hidden_keys) const {
  const at::Tensor attended = x + attention(attention_norm(x), buckets, hidden_keys);
  return attended + feed_forward(feed_forward_norm(attended));
}

Umt5Encoder::Umt5Encoder(const Umt5Config& config) : config_(config), blocks_(static_cast<size_t>(config.num_layers)) {
  final_norm_.eps = config.layer_norm_epsilon;
}

void Umt5Encoder::params(ParamList& out, const std::string& prefix) {
  out.add(prefix + "shared.weight", shared_, {config_.vocab_size, config_.d_model}, Init::normal(1.0));
  out.last_is_packable();
  for (size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].params(out, prefix + "encoder.block." + std::to_string(i) + ".", config_);
  final_norm_.params(out, prefix + "encoder.final_layer_norm.", config_.d_model);
}

std::vector<ParamList> Umt5Encoder::layers() {
  std::vector<ParamList> lists(blocks_.size());
  for (size_t i = 0; i < blocks_.size(); ++i) blocks_[i].params(lists[i], "", config_);
  return lists;
}

at::Tensor Umt5Encoder::forward(const at::Tensor& ids, const at::Tensor& mask,
                                std::optional<at::ScalarType> dtype) const {
  TORCH_CHECK(ids.dim() == 2 && ids.scalar_type() == at::kLong, "Umt5Encoder: want int64 ids [B, L], got ",
              ids.scalar_type(), " ", ids.sizes());
  TORCH_CHECK(!mask.defined() || mask.sizes() == ids.sizes(), "Umt5Encoder: ids are ", ids.sizes(), ", mask is ",
              mask.sizes());
  const at::Tensor buckets = umt5_position_buckets(ids.size(1), config_.relative_attention_num_buckets,
                                                   config_.relative_attention_max_distance)
                                 .to(ids.device());
  const at::Tensor hidden_keys = mask.defined() ? mask.eq(0).unsqueeze(1).unsqueeze(1) : at::Tensor();
  at::Tensor x = gather_rows(shared_, ids).to(dtype.value_or(shared_.scalar_type()));  // [B, L, d_model]
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const LayerTurn turn(stream_.get(), i);
    x = blocks_[i](x, buckets, hidden_keys);
  }
  return final_norm_(x);
}

at::Tensor zero_padding(const at::Tensor& states, const at::Tensor& mask) {
  TORCH_CHECK(states.dim() == 3 && mask.sizes() == states.sizes().slice(0, 2), "zero_padding: states are ",
              states.sizes(), ", mask is ", mask.sizes());
  return states.masked_fill(mask.eq(0).unsqueeze(-1), 0.0);
}

}  // namespace tessera
