#include "models/clip/clip_vision.h"

#include <ATen/ATen.h>

#include "core/size_limits.h"
#include "models/attention/softmax.h"

namespace tessera {

ClipVisionConfig ClipVisionConfig::from_json(const JsonConfig& json) {
  ClipVisionConfig config;
  const auto size = [&](const char* key, int64_t most, int64_t& value) { value = read_size(json, key, most, value); };
  size("hidden_size", limits::kWidth, config.hidden_size);
  size("intermediate_size", limits::kWidth, config.intermediate_size);
  size("num_hidden_layers", limits::kLayers, config.num_hidden_layers);
  size("num_attention_heads", limits::kHeads, config.num_attention_heads);
  size("image_size", limits::kPatch * limits::kPatch, config.image_size);
  size("patch_size", limits::kPatch, config.patch_size);
  config.layer_norm_eps = json.number("layer_norm_eps", config.layer_norm_eps);
  if (json.text("hidden_act", "gelu") != "gelu") json.fail("hidden_act", "must be gelu");
  if (config.hidden_size % config.num_attention_heads != 0)
    json.fail("hidden_size", "must be a multiple of num_attention_heads");
  if (config.image_size % config.patch_size != 0) json.fail("image_size", "must be a multiple of patch_size");
  return config;
}

ClipVision::ClipVision(const ClipVisionConfig& config)
    : config_(config), blocks_(static_cast<size_t>(config.num_hidden_layers)) {
  pre_norm_.eps = post_norm_.eps = config.layer_norm_eps;
  for (Block& block : blocks_) block.norm1.eps = block.norm2.eps = config.layer_norm_eps;
}

void ClipVision::params(ParamList& out, const std::string& prefix) {
  const int64_t C = config_.hidden_size, patch = config_.patch_size;
  const std::string embeddings = prefix + "embeddings.";
  out.add(embeddings + "class_embedding", class_embedding_, {C});
  out.add(embeddings + "patch_embedding.weight", patch_weight_, {C, 3, patch, patch});
  out.add(embeddings + "position_embedding.weight", positions_, {config_.tokens(), C});
  pre_norm_.params(out, prefix + "pre_layrnorm.", C);  // transformers' spelling
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const std::string at = prefix + "encoder.layers." + std::to_string(i) + ".";
    Block& block = blocks_[i];
    block.norm1.params(out, at + "layer_norm1.", C);
    block.q.params(out, at + "self_attn.q_proj.", C, C);
    block.k.params(out, at + "self_attn.k_proj.", C, C);
    block.v.params(out, at + "self_attn.v_proj.", C, C);
    block.out.params(out, at + "self_attn.out_proj.", C, C);
    block.norm2.params(out, at + "layer_norm2.", C);
    block.fc1.params(out, at + "mlp.fc1.", C, config_.intermediate_size);
    block.fc2.params(out, at + "mlp.fc2.", config_.intermediate_size, C);
  }
  post_norm_.params(out, prefix + "post_layernorm.", C);
}

at::Tensor ClipVision::operator()(const at::Tensor& pixels) const {
  TORCH_CHECK(pixels.dim() == 4 && pixels.size(1) == 3 && pixels.size(2) == config_.image_size &&
                  pixels.size(3) == config_.image_size,
              "ClipVision: want [B, 3, ", config_.image_size, ", ", config_.image_size, "], got ", pixels.sizes());
  const int64_t B = pixels.size(0), C = config_.hidden_size;
  const auto dtype = patch_weight_.scalar_type();
  const at::Tensor patches =
      at::conv2d(pixels.to(dtype), patch_weight_, {}, config_.patch_size).flatten(2).mT();  // [B, N, C]
  const at::Tensor all = at::cat({class_embedding_.expand({B, 1, C}), patches}, 1);
  at::Tensor x = pre_norm_(all + positions_);
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const at::Tensor h = block.norm1(x);
    x = x + block.out(softmax_attention(block.q(h), block.k(h), block.v(h), config_.num_attention_heads));
    x = x + block.fc2(at::gelu(block.fc1(block.norm2(x))));
  }
  return x;
}

}  // namespace tessera
