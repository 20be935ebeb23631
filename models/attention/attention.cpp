#include "models/attention/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "core/size_limits.h"
#include "models/attention/linear.h"
#include "models/attention/mhla.h"
#include "models/attention/softmax.h"

namespace tessera {
namespace {

// In the order of the enums.
constexpr std::array<const char*, 4> kKindNames = {"softmax", "mhla", "linear", "focused"};
constexpr std::array<const char*, 3> kNormalizerNames = {"products", "sums", "none"};
constexpr std::array<const char*, 5> kTransformNames = {"linear", "cos", "exp", "gaussian", "local"};

template <typename Value, size_t kCount>
Value choose(const JsonConfig& json, const std::string& key, Value fallback,
             const std::array<const char*, kCount>& names) {
  const std::string name = json.text(key, name_of(fallback));
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) json.fail(key, "is unknown" + suggestion(name, {names.begin(), names.end()}));
  return static_cast<Value>(found - names.begin());
}

std::vector<std::string> keys_of(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kMhla:
      return {"kind",       "block_layout", "block_tokens", "gated",   "lepe",
              "normalizer", "transform",    "clamp_mixing", "qk_norm", "softmax_layers"};
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
  config.block_layout = read_extent(json, "block_layout");
  if (volume(config.block_layout) > limits::kMixedBlocks)
    json.fail("block_layout", "must make at most " + std::to_string(limits::kMixedBlocks) + " blocks");
  if (json.has("block_tokens")) config.block_tokens = read_extent(json, "block_tokens");
  config.gated = json.boolean("gated", false);
  config.lepe = json.boolean("lepe", false);
  config.clamp_mixing = json.boolean("clamp_mixing", false);
  config.qk_norm = json.boolean("qk_norm", false);
  config.normalizer = choose(json, "normalizer", config.normalizer, kNormalizerNames);
  config.transform = choose(json, "transform", config.transform, kTransformNames);
}

void read_focused(const JsonConfig& json, AttentionConfig& config) {
  config.focusing_factor = json.number("focusing_factor", config.focusing_factor);
  const bool convolves = !json.has("kernel_size") || json.json().at("kernel_size") != 0;
  config.kernel_size = convolves ? read_size(json, "kernel_size", limits::kKernel, config.kernel_size) : 0;
  if (!(config.focusing_factor > 0)) json.fail("focusing_factor", "must be above 0");
  if (convolves && config.kernel_size % 2 == 0) json.fail("kernel_size", "must be odd, or 0 for no convolution");
}

}  // namespace

const char* name_of(AttentionKind kind) {
  return kKindNames.at(static_cast<size_t>(kind));
}

const char* scope_of(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kSoftmax:
      return "self-attention softmax";
    case AttentionKind::kMhla:
      return "self-attention mhla";
    case AttentionKind::kLinear:
      return "self-attention linear";
    case AttentionKind::kFocused:
      return "self-attention focused";
  }
  return "self-attention";
}

const char* name_of(Normalizer normalizer) {
  return kNormalizerNames.at(static_cast<size_t>(normalizer));
}

const char* name_of(MixingTransform transform) {
  return kTransformNames.at(static_cast<size_t>(transform));
}

AttentionConfig AttentionConfig::from_json(const JsonConfig& json) {
  AttentionConfig config;
  config.kind = choose(json, "kind", config.kind, kKindNames);
  json.reject_unknown(keys_of(config.kind));
  if (config.kind != AttentionKind::kSoftmax) config.softmax_layers = json.integers("softmax_layers", {});
  if (static_cast<int64_t>(config.softmax_layers.size()) > limits::kLayers)
    json.fail("softmax_layers", "must hold at most " + std::to_string(limits::kLayers) + " numbers");
  if (config.kind == AttentionKind::kMhla) read_mhla(json, config);
  if (config.kind == AttentionKind::kFocused) read_focused(json, config);
  return config;
}

nlohmann::ordered_json AttentionConfig::to_json() const {
  nlohmann::ordered_json json = {{"kind", name_of(kind)}};
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
    if (clamp_mixing) json["clamp_mixing"] = true;
    json["normalizer"] = name_of(normalizer);
    json["transform"] = name_of(transform);
  }
  if (kind != AttentionKind::kSoftmax && !softmax_layers.empty()) json["softmax_layers"] = softmax_layers;
  return json;
}

void AttentionConfig::check_layers(const JsonConfig& json, int64_t layers) const {
  for (const int64_t layer : softmax_layers)
    if (layer < 0 || layer >= layers)
      json.fail("softmax_layers", "names a layer outside 0.." + std::to_string(layers - 1));
}

AttentionKind AttentionConfig::kind_of_layer(int64_t layer) const {
  const bool keeps_softmax = std::find(softmax_layers.begin(), softmax_layers.end(), layer) != softmax_layers.end();
  return keeps_softmax ? AttentionKind::kSoftmax : kind;
}

void NormalizerStats::count(const at::Tensor& normalizer) {
  const at::Tensor rows = normalizer.detach().transpose(0, 1).flatten(1);  // [B, M H P]
  const auto add = [](at::Tensor& total, const at::Tensor& more) { total = total.defined() ? total + more : more; };
  add(values, at::full({rows.size(0)}, rows.size(1), rows.options().dtype(at::kLong)));
  add(near_zero, (rows.abs() < kLeastNormalizer).sum(1));
  add(negative, (rows < 0).sum(1));
}

at::Tensor guard_normalizer(const at::Tensor& normalizer) {
  return at::copysign(normalizer.abs().clamp_min(kLeastNormalizer), normalizer);
}

AttentionProjections::AttentionProjections(int64_t channels, double eps) : channels_(channels) {
  norm_q.eps = norm_k.eps = eps;
}

void AttentionProjections::params(ParamList& out, const std::string& prefix) {
  const Init init = xavier(channels_, channels_);
  to_q.block_params(out, prefix + "to_q.", channels_, channels_, true, init);
  to_k.block_params(out, prefix + "to_k.", channels_, channels_, true, init);
  to_v.block_params(out, prefix + "to_v.", channels_, channels_, true, init);
  to_out.block_params(out, prefix + "to_out.0.", channels_, channels_, true, init);
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
