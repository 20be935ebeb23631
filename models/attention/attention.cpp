#include "models/attention/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "models/attention/linear.h"
#include "models/attention/mhla.h"
#include "models/attention/softmax.h"

namespace tessera {
namespace {

constexpr double kSmallestNormalizer = 1e-6;

template <typename Value>
Value choose(const JsonConfig& json, const std::string& key, const std::string& fallback,
             const std::map<std::string, Value>& choices) {
  const std::string name = json.text(key, fallback);
  if (const auto found = choices.find(name); found != choices.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, value] : choices) names.push_back(known);
  json.fail(key, "is unknown" + suggestion(name, names));
}

Extent3 extent(const JsonConfig& json, const std::string& key) {
  const std::vector<int64_t> values = json.integers(key);
  if (values.size() != 3 || std::any_of(values.begin(), values.end(), [](int64_t v) { return v < 1; }))
    json.fail(key, "must be three positive integers (time, height, width)");
  return {values[0], values[1], values[2]};
}

std::vector<std::string> keys_of(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kMhla:
      return {"kind",       "block_layout", "block_tokens", "gated",         "lepe",
              "normalizer", "transform",    "qk_norm",      "softmax_layers"};
    case AttentionKind::kLinear:
      return {"kind", "softmax_layers"};
    case AttentionKind::kFocused:
      return {"kind", "focusing_factor", "kernel_size", "softmax_layers"};
    case AttentionKind::kSoftmax:
      break;
  }
  return {"kind"};
}

void read_mhla(const JsonConfig& json, AttentionConfig& config) {
  config.block_layout = extent(json, "block_layout");
  if (json.has("block_tokens")) config.block_tokens = extent(json, "block_tokens");
  config.gated = json.boolean("gated", false);
  config.lepe = json.boolean("lepe", false);
  config.qk_norm = json.boolean("qk_norm", false);
  config.normalizer = choose<Normalizer>(
      json, "normalizer", "sums",
      {{"products", Normalizer::kProducts}, {"sums", Normalizer::kSums}, {"none", Normalizer::kNone}});
  config.transform = choose<MixingTransform>(json, "transform", "linear",
                                             {{"linear", MixingTransform::kLinear},
                                              {"cos", MixingTransform::kCos},
                                              {"exp", MixingTransform::kExp},
                                              {"gaussian", MixingTransform::kGaussian},
                                              {"local", MixingTransform::kLocal}});
}

void read_focused(const JsonConfig& json, AttentionConfig& config) {
  config.focusing_factor = json.number("focusing_factor", config.focusing_factor);
  config.kernel_size = json.integer("kernel_size", config.kernel_size);
  if (!(config.focusing_factor > 0)) json.fail("focusing_factor", "must be above 0");
  if (config.kernel_size < 1 || config.kernel_size % 2 == 0) json.fail("kernel_size", "must be odd and positive");
}

}  // namespace

AttentionConfig AttentionConfig::from_json(const JsonConfig& json) {
  AttentionConfig config;
  config.kind = choose<AttentionKind>(json, "kind", "softmax",
                                      {{"softmax", AttentionKind::kSoftmax},
                                       {"mhla", AttentionKind::kMhla},
                                       {"linear", AttentionKind::kLinear},
                                       {"focused", AttentionKind::kFocused}});
  json.reject_unknown(keys_of(config.kind));
  if (config.kind != AttentionKind::kSoftmax) config.softmax_layers = json.integers("softmax_layers", {});
  if (config.kind == AttentionKind::kMhla) read_mhla(json, config);
  if (config.kind == AttentionKind::kFocused) read_focused(json, config);
  return config;
}

nlohmann::ordered_json AttentionConfig::to_json() const {
  constexpr const char* kKinds[] = {"softmax", "mhla", "linear", "focused"};
  constexpr const char* kNormalizers[] = {"products", "sums", "none"};
  constexpr const char* kTransforms[] = {"linear", "cos", "exp", "gaussian", "local"};
  nlohmann::ordered_json json = {{"kind", kKinds[static_cast<size_t>(kind)]}};
  if (kind == AttentionKind::kFocused) {
    json["focusing_factor"] = focusing_factor;
    json["kernel_size"] = kernel_size;
  }
  if (kind == AttentionKind::kMhla) {
    json["block_layout"] = block_layout;
    if (block_tokens) json["block_tokens"] = *block_tokens;
    json["gated"] = gated;
    json["lepe"] = lepe;
    json["qk_norm"] = qk_norm;
    json["normalizer"] = kNormalizers[static_cast<size_t>(normalizer)];
    json["transform"] = kTransforms[static_cast<size_t>(transform)];
  }
  if (kind != AttentionKind::kSoftmax && !softmax_layers.empty()) json["softmax_layers"] = softmax_layers;
  return json;
}

AttentionKind AttentionConfig::kind_of_layer(int64_t layer) const {
  const bool keeps_softmax = std::find(softmax_layers.begin(), softmax_layers.end(), layer) != softmax_layers.end();
  return keeps_softmax ? AttentionKind::kSoftmax : kind;
}

void NormalizerStats::count(const at::Tensor& normalizer) {
  const at::Tensor n = normalizer.detach();
  const auto add = [](at::Tensor& total, const at::Tensor& more) { total = total.defined() ? total + more : more; };
  add(values, at::full({}, n.numel(), n.options().dtype(at::kLong)));
  add(near_zero, (n.abs() < kSmallestNormalizer).sum());
  add(negative, (n < 0).sum());
}

at::Tensor guard_normalizer(const at::Tensor& normalizer) {
  return at::copysign(normalizer.abs().clamp_min(kSmallestNormalizer), normalizer);
}

AttentionProjections::AttentionProjections(int64_t channels, double eps) : channels_(channels) {
  norm_q.eps = norm_k.eps = eps;
}

void AttentionProjections::params(ParamList& out, const std::string& prefix) {
  const Init xavier = Init::uniform(std::sqrt(3.0 / static_cast<double>(channels_)));
  to_q.params(out, prefix + "to_q.", channels_, channels_, true, xavier);
  to_k.params(out, prefix + "to_k.", channels_, channels_, true, xavier);
  to_v.params(out, prefix + "to_v.", channels_, channels_, true, xavier);
  to_out.params(out, prefix + "to_out.0.", channels_, channels_, true, xavier);
  norm_q.params(out, prefix + "norm_q.", channels_);
  norm_k.params(out, prefix + "norm_k.", channels_);
}

std::unique_ptr<SelfAttention> make_self_attention(AttentionKind kind, const AttentionConfig& config, int64_t heads,
                                                   int64_t head_dim, double eps) {
  switch (kind) {
    case AttentionKind::kMhla:
      return std::make_unique<MhlaAttention>(config, heads, head_dim, eps);
    case AttentionKind::kLinear:
    case AttentionKind::kFocused:
      return std::make_unique<LinearAttention>(kind, config, heads, head_dim, eps);
    case AttentionKind::kSoftmax:
      break;
  }
  return std::make_unique<SoftmaxAttention>(heads, head_dim, eps);
}

}  // namespace tessera
