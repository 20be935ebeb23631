#include "checkpoints/wan/configs.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "checkpoints/tensor_shapes.h"
#include "core/error.h"
#include "models/attention/attention.h"
#include "weights/names.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr int64_t kT5MaxDistance = 128;  // the same in every T5; no tensor depends on it

int64_t divided(const TensorFile& file, const std::string& name, int64_t number, int64_t by) {
  if (by < 1 || number % by != 0)
    throw Error(c10::str(file.where(), ": ", name, ": ", number, " is not a multiple of ", by));
  return number / by;
}

std::string block_name(int64_t block) {
  return "blocks." + std::to_string(block) + ".";
}

/// Which layers are MHLA, gate and LePE, by tensor names; null without such layers.
json attention_of(const TensorFile& file, int64_t layers) {
  std::vector<int64_t> softmax, mhla;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const bool mixes = file.find(block_name(layer) + "attn1.block_attn.conv.weight");
    (mixes ? mhla : softmax).push_back(layer);
  }
  if (mhla.empty()) return nullptr;
  const std::string first = block_name(mhla.front()) + "attn1.";
  return {{"kind", name_of(AttentionKind::kMhla)},
          {"gated", file.find(first + "g.weight") != nullptr},
          {"lepe", file.find(first + "lepe.weight") != nullptr},
          {"softmax_layers", softmax}};
}

/// The width of a head: that of MHLA's per-head norm, or the one of all Wan models.
int64_t head_width(const TensorFile& file, int64_t layers, int64_t channels) {
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string norm = block_name(layer) + "attn1.g_norm.weight";
    if (file.find(norm)) return shape_of(file, norm, 1)[0];
  }
  if (channels == 1536 || channels == 3072 || channels == 5120) return 128;
  throw Error(c10::str(file.where(), ": a transformer of width ", channels,
                       " is not one of Wan's (1536, 3072, 5120): put its config.json, which has num_heads, beside it"));
}

}  // namespace

JsonConfig diffusers_transformer_config(const JsonConfig& wan) {
  const std::string type = wan.text("model_type", "t2v");
  if (type != "t2v" && type != "i2v" && type != "flf2v" && type != "ti2v")
    wan.fail("model_type", "must be t2v, i2v, flf2v or ti2v: other kinds of Wan models are not supported");
  const int64_t width = wan.integer("dim"), heads = wan.integer("num_heads");
  if (width < 1 || heads < 1 || width % heads != 0) wan.fail("dim", "must be a multiple of num_heads");
  const json config = {{"_class_name", "WanTransformer3DModel"},
                       {"patch_size", wan.integers("patch_size", {1, 2, 2})},
                       {"num_attention_heads", heads},
                       {"attention_head_dim", width / heads},
                       {"in_channels", wan.integer("in_dim", 16)},
                       {"out_channels", wan.integer("out_dim", 16)},
                       {"text_dim", wan.integer("text_dim", 4096)},
                       {"freq_dim", wan.integer("freq_dim", 256)},
                       {"ffn_dim", wan.integer("ffn_dim")},
                       {"num_layers", wan.integer("num_layers")},
                       {"cross_attn_norm", wan.boolean("cross_attn_norm", true)},
                       {"qk_norm", wan.boolean("qk_norm", true) ? json("rms_norm_across_heads") : json("none")},
                       {"eps", wan.number("eps", 1e-6)}};
  return {config, wan.where()};
}

JsonConfig with_image_sizes(const JsonConfig& config, const TensorFile& file) {
  const std::string image = "condition_embedder.image_embedder.";
  if (!file.find(image + "norm1.weight")) return config;
  json whole = config.json();
  whole["image_dim"] = shape_of(file, image + "norm1.weight", 1)[0];
  whole["added_kv_proj_dim"] = shape_of(file, "blocks.0.attn2.add_k_proj.weight", 2)[1];
  if (file.find(image + "pos_embed")) whole["pos_embed_seq_len"] = shape_of(file, image + "pos_embed", 3)[1];
  return {whole, config.where()};
}

bool has_mhla_layers(const TensorFile& file) {
  const auto names = file.names();
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.ends_with(".block_attn.conv.weight"); });
}

JsonConfig transformer_config_of(const TensorFile& file) {
  const std::string patch = "patch_embedding.weight", condition = "condition_embedder.";
  std::vector<int64_t> patch_size;
  int64_t patch_numbers = 1;
  for (int64_t axis = 2; axis < 5; ++axis) {
    patch_size.push_back(shape_of(file, patch, 5)[static_cast<size_t>(axis)]);
    patch_numbers *= patch_size.back();
  }
  const int64_t channels = shape_of(file, patch, 5)[0], layers = count_numbered(file, "blocks.");
  const int64_t head = head_width(file, layers, channels);
  json config = {
      {"_class_name", "WanTransformer3DModel"},
      {"patch_size", patch_size},
      {"num_attention_heads", divided(file, patch, channels, head)},
      {"attention_head_dim", head},
      {"in_channels", shape_of(file, patch, 5)[1]},
      {"out_channels", divided(file, "proj_out.weight", shape_of(file, "proj_out.weight", 2)[0], patch_numbers)},
      {"text_dim", shape_of(file, condition + "text_embedder.linear_1.weight", 2)[1]},
      {"freq_dim", shape_of(file, condition + "time_embedder.linear_1.weight", 2)[1]},
      {"ffn_dim", shape_of(file, "blocks.0.ffn.net.0.proj.weight", 2)[0]},
      {"num_layers", layers},
      {"cross_attn_norm", file.find("blocks.0.norm2.weight") != nullptr},
      {"qk_norm", "rms_norm_across_heads"},
      {"eps", 1e-6}};
  if (const json attention = attention_of(file, layers); !attention.is_null()) config["attention"] = attention;
  return with_image_sizes({config, file.where()}, file);
}

JsonConfig text_encoder_config_of(const TensorFile& file) {
  const std::string first = "encoder.block.0.layer.", bias = first + "0.SelfAttention.relative_attention_bias.weight";
  const std::string query = first + "0.SelfAttention.q.weight";
  const int64_t heads = shape_of(file, bias, 2)[1];
  const json config = {{"architectures", {"UMT5EncoderModel"}},
                       {"vocab_size", shape_of(file, "shared.weight", 2)[0]},
                       {"d_model", shape_of(file, "shared.weight", 2)[1]},
                       {"d_kv", divided(file, query, shape_of(file, query, 2)[0], heads)},
                       {"d_ff", shape_of(file, first + "1.DenseReluDense.wi_0.weight", 2)[0]},
                       {"num_layers", count_numbered(file, "encoder.block.")},
                       {"num_heads", heads},
                       {"relative_attention_num_buckets", shape_of(file, bias, 2)[0]},
                       {"relative_attention_max_distance", kT5MaxDistance},
                       {"layer_norm_epsilon", 1e-6},
                       {"feed_forward_proj", "gated-gelu"}};
  return {config, file.where()};
}

JsonConfig image_encoder_config_of(const TensorFile& file) {
  const std::string tower = "vision_model.", embeddings = tower + "embeddings.";
  constexpr int64_t kHeadWidth = 80;  // of ViT-H/14; shapes do not tell it
  const int64_t width = shape_of(file, embeddings + "class_embedding", 1)[0];
  const int64_t patch = shape_of(file, embeddings + "patch_embedding.weight", 4)[2];
  const int64_t tokens = shape_of(file, embeddings + "position_embedding.weight", 2)[0] - 1;
  int64_t side = 0;
  while (side * side < tokens) ++side;
  const json config = {{"architectures", {"CLIPVisionModel"}},
                       {"hidden_size", width},
                       {"intermediate_size", shape_of(file, tower + "encoder.layers.0.mlp.fc1.weight", 2)[0]},
                       {"num_hidden_layers", count_numbered(file, tower + "encoder.layers.")},
                       {"num_attention_heads", divided(file, embeddings + "class_embedding", width, kHeadWidth)},
                       {"image_size", side * patch},
                       {"patch_size", patch},
                       {"hidden_act", "gelu"},
                       {"layer_norm_eps", 1e-5}};
  return {config, file.where()};
}

namespace {

/// Of the residual form: a level is one block.
JsonConfig residual_vae_config_of(const TensorFile& file) {
  const int64_t base = shape_of(file, "encoder.conv_in.weight", 5)[0];
  const int64_t levels = count_numbered(file, "encoder.down_blocks.");
  const auto level_name = [](int64_t level) { return "encoder.down_blocks." + std::to_string(level) + "."; };
  std::vector<int64_t> multipliers;
  std::vector<bool> temporal;
  for (int64_t level = 0; level < levels; ++level) {
    const std::string conv = level_name(level) + "resnets.0.conv1.weight";
    multipliers.push_back(divided(file, conv, shape_of(file, conv, 5)[0], base));
    if (level + 1 < levels)
      temporal.push_back(file.find(level_name(level) + "downsampler.time_conv.weight") != nullptr);
  }
  const int64_t channels = shape_of(file, "encoder.conv_in.weight", 5)[1];
  int64_t patch = 1;
  while (3 * (patch + 1) * (patch + 1) <= channels) ++patch;
  const json config = {
      {"_class_name", "AutoencoderKLWan"},
      {"base_dim", base},
      {"decoder_base_dim", shape_of(file, "decoder.conv_out.weight", 5)[1]},
      {"z_dim", shape_of(file, "post_quant_conv.weight", 5)[0]},
      {"dim_mult", multipliers},
      {"num_res_blocks", count_numbered(file, level_name(0) + "resnets.")},
      {"attn_scales", json::array()},
      {"temperal_downsample", temporal},
      {"in_channels", channels},
      {"out_channels", shape_of(file, "decoder.conv_out.weight", 5)[0]},
      {"patch_size", patch},
      {"is_residual", true},
  };
  return {config, file.where()};
}

}  // namespace

JsonConfig vae_config_of(const TensorFile& file) {
  if (file.find("encoder.down_blocks.0.resnets.0.conv1.weight")) return residual_vae_config_of(file);
  const int64_t base = shape_of(file, "encoder.conv_in.weight", 5)[0];
  std::vector<int64_t> multipliers;
  std::vector<bool> temporal;
  int64_t residual = 0, width = base;
  for (int64_t i = 0; i < count_numbered(file, "encoder.down_blocks."); ++i) {
    const std::string block = "encoder.down_blocks." + std::to_string(i) + ".";
    if (file.find(block + "resample.1.weight")) {
      multipliers.push_back(divided(file, block + "resample.1.weight", width, base));
      temporal.push_back(file.find(block + "time_conv.weight") != nullptr);
    } else {
      width = shape_of(file, block + "conv1.weight", 5)[0];
      ++residual;
    }
  }
  multipliers.push_back(divided(file, "encoder.conv_in.weight", width, base));
  const auto levels = static_cast<int64_t>(multipliers.size());
  const json config = {
      {"_class_name", "AutoencoderKLWan"},
      {"base_dim", base},
      {"decoder_base_dim", shape_of(file, "decoder.conv_out.weight", 5)[1]},
      {"z_dim", shape_of(file, "post_quant_conv.weight", 5)[0]},
      {"dim_mult", multipliers},
      {"num_res_blocks", divided(file, "encoder.down_blocks.*", residual, levels)},
      {"attn_scales", json::array()},
      {"temperal_downsample", temporal},
      {"in_channels", shape_of(file, "encoder.conv_in.weight", 5)[1]},
      {"out_channels", shape_of(file, "decoder.conv_out.weight", 5)[0]},
  };
  return {config, file.where()};
}

JsonConfig wan_scheduler_config(const std::string& class_name, double flow_shift, const std::string& where) {
  json config = {{"_class_name", class_name}, {"prediction_type", "flow_prediction"},
                 {"use_flow_sigmas", true},   {"num_train_timesteps", 1000},
                 {"solver_order", 2},         {"flow_shift", flow_shift}};
  return {std::move(config), where};
}

}  // namespace tessera
