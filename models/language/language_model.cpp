#include "models/language/language_model.h"

#include <ATen/ATen.h>

#include "core/size_limits.h"

namespace tessera {
namespace {

constexpr int64_t kByteValues = 256;

}  // namespace

LanguageModelConfig LanguageModelConfig::from_json(const JsonConfig& json) {
  json.reject_unknown({"heads", "head_dim", "layers", "hidden", "length", "attention"});
  LanguageModelConfig config;
  config.heads = read_size(json, "heads", limits::kHeads, config.heads);
  config.head_dim = read_size(json, "head_dim", limits::kWidth, config.head_dim);
  config.layers = read_size(json, "layers", limits::kLayers, config.layers);
  config.hidden = read_size(json, "hidden", limits::kWidth, config.hidden);
  config.length = read_size(json, "length", limits::kGridTokens, config.length);
  if (config.head_dim % 2 != 0) json.fail("head_dim", "must be even");
  config.attention = CausalAttentionConfig::from_json(json.object("attention"));
  return config;
}

LanguageModel::LanguageModel(const LanguageModelConfig& config)
    : config_(config), blocks_(static_cast<size_t>(config.layers)) {
  for (Block& block : blocks_) {
    block.norm1.eps = block.norm2.eps = config.norm_eps;
    block.attention = std::make_unique<CausalAttention>(config.attention, config.heads, config.head_dim, config.length);
  }
  norm_.eps = config.norm_eps;
}

void LanguageModel::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.channels();
  out.add(prefix + "embed.weight", embedding_, {kByteValues, C}, Init::normal(1.0));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const std::string at = prefix + "blocks." + std::to_string(i) + ".";
    blocks_[i].norm1.params(out, at + "norm1.", C);
    blocks_[i].attention->params(out, at + "attn.");
    blocks_[i].norm2.params(out, at + "norm2.", C);
    blocks_[i].fc1.params(out, at + "mlp.fc1.", C, config_.hidden);
    blocks_[i].fc2.params(out, at + "mlp.fc2.", config_.hidden, C);
  }
  norm_.params(out, prefix + "norm.", C);
  head_.params(out, prefix + "head.", C, kByteValues, true, Init::zeros());
}

at::Tensor LanguageModel::operator()(const at::Tensor& bytes, at::ScalarType dtype) const {
  TORCH_CHECK(bytes.dim() == 2 && bytes.size(1) <= config_.length, "LanguageModel: want bytes [B, up to ",
              config_.length, "], got ", bytes.sizes());
  at::Tensor x = at::embedding(embedding_, bytes).to(dtype);  // [B, T, C]
  for (const Block& block : blocks_) {
    x = x + (*block.attention)(block.norm1(x));
    x = x + block.fc2(at::gelu(block.fc1(block.norm2(x))));
  }
  return head_(norm_(x));
}

}  // namespace tessera
