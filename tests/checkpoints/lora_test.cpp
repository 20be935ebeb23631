#include "checkpoints/lora.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoints/lora_info.h"
#include "checkpoints/wan/loras.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

constexpr int64_t kWidth = 8, kTextWidth = 4;

WanTransformerConfig transformer_config() {
  WanTransformerConfig config;
  config.num_attention_heads = 2;
  config.attention_head_dim = kWidth / 2;
  config.in_channels = config.out_channels = 4;
  config.text_dim = config.freq_dim = 6;
  config.ffn_dim = 10;
  config.num_layers = 3;
  return config;
}

Umt5Config text_config() {
  Umt5Config config;
  config.vocab_size = 5;
  config.d_model = config.d_kv = kTextWidth;
  config.d_ff = 6;
  config.num_layers = 2;
  config.num_heads = 1;
  return config;
}

struct LoraMatch : testing::Test {
  test::TemporaryFolder folder;
  WanTransformerConfig config = transformer_config();
  int files = 0;

  LoraShelf shelf() const {
    std::vector<LoraNames> networks;
    networks.push_back(lora_names(config));
    networks.push_back(lora_names(text_config()));
    return LoraShelf(std::move(networks));
  }

  std::string write(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    const std::string path = folder / (std::to_string(files++) + ".safetensors");
    write_safetensors(path, tensors, metadata);
    return path;
  }

  /// "network: parameter" of a pair for one layer; "" when it matches nothing.
  std::string target(const std::string& layer, int64_t width, const std::string& half = "lora_A") {
    const std::string other = half == "lora_A" ? "lora_B" : "lora_up";
    const std::string path = write({{layer + "." + half + ".weight", at::ones({1, width})},
                                    {layer + "." + other + ".weight", at::ones({width, 1})}});
    LoraShelf all = shelf();
    try {
      const OpenedLora& lora = all.open(path);
      const auto& [network, parameters] = *lora.changes.begin();
      return network + ": " + parameters.begin()->first;
    } catch (const Error& error) {
      EXPECT_TRUE(test::contains(error.what(), "changes nothing in this model")) << error.what();
      return "";
    }
  }
};

TEST_F(LoraMatch, EveryLayoutsNamesFindTheirWeights) {
  const std::string query = "transformer: blocks.1.attn1.to_q.weight", text = "text_encoder: encoder.block.1.layer.0.";
  for (const char* name : {"transformer.blocks.1.attn1.to_q", "base_model.model.blocks.1.attn1.to_q",
                           "base_model.model.transformer.blocks.1.attn1.to_q", "blocks.1.attn1.to_q",
                           "diffusion_model.blocks.1.self_attn.q", "model.diffusion_model.blocks.1.self_attn.q",
                           "blocks.1.self_attn.q", "pipe.dit.blocks.1.self_attn.q"})
    EXPECT_EQ(target(name, kWidth), query) << name;
  EXPECT_EQ(target("lora_unet_blocks_1_self_attn_q", kWidth, "lora_down"), query);
  EXPECT_EQ(target("lora_unet_blocks_1_attn1_to_q", kWidth, "lora_down"), query);
  EXPECT_EQ(target("lora_unet_blocks_2_cross_attn_o", kWidth), "transformer: blocks.2.attn2.to_out.0.weight");
  EXPECT_EQ(target("diffusion_model.time_embedding.2", kWidth),
            "transformer: condition_embedder.time_embedder.linear_2.weight");
  for (const char* name :
       {"text_encoder.encoder.block.1.layer.0.SelfAttention.q",
        "base_model.model.encoder.block.1.layer.0.SelfAttention.q", "lora_te_encoder_block_1_layer_0_SelfAttention_q",
        "lora_te1_encoder_block_1_layer_0_SelfAttention_q",
        "text_encoders.umt5xxl.transformer.encoder.block.1.layer.0.SelfAttention.q", "text_encoder.blocks.1.attn.q"})
    EXPECT_EQ(target(name, kTextWidth), text + "SelfAttention.q.weight") << name;
  for (const char* name :
       {"transformer.blocks.3.attn1.to_q", "transformer_2.blocks.1.attn1.to_q", "xdiffusion_model.blocks.1.self_attn.q",
        "diffusion_model.blocks.1.self_attn.qx", "lora_unet_blocks_1_self_attn", "lora_unet_", "blocks.01.self_attn.q"})
    EXPECT_EQ(target(name, kWidth), "") << name;
}

TEST_F(LoraMatch, NormsAndModulationTakeDifferences) {
  const std::string path = write({{"diffusion_model.blocks.0.self_attn.norm_q.diff", at::ones({kWidth})},
                                  {"diffusion_model.blocks.0.norm3.diff_b", at::ones({kWidth})},
                                  {"diffusion_model.blocks.0.modulation.diff", at::ones({1, 6, kWidth})},
                                  {"diffusion_model.head.modulation.diff", at::ones({1, 2, kWidth})}});
  LoraShelf all = shelf();
  const OpenedLora& lora = all.open(path);
  std::vector<std::string> changed;
  for (const auto& [name, terms] : lora.changes.at(kLoraTransformer)) changed.push_back(name);
  EXPECT_EQ(changed, (std::vector<std::string>{"blocks.0.attn1.norm_q.weight", "blocks.0.norm2.bias",
                                               "blocks.0.scale_shift_table", "scale_shift_table"}));
  EXPECT_EQ(lora.unmatched_note(), "");
}

TEST_F(LoraMatch, EveryTensorThatMatchesNothingIsListed) {
  Tensors tensors;
  for (const char* layer : {"diffusion_model.blocks.0.self_attn.q", "diffusion_model.blocks.0.cross_attn.k_img"}) {
    tensors[std::string(layer) + ".lora_down.weight"] = at::ones({2, kWidth});
    tensors[std::string(layer) + ".lora_up.weight"] = at::ones({kWidth, 2});
    tensors[std::string(layer) + ".alpha"] = at::scalar_tensor(1.0f);
  }
  tensors["diffusion_model.blocks.0.self_attn.norm_q.diff_b"] = at::ones({kWidth});  // this norm has no bias
  tensors["step"] = at::ones({1});
  LoraShelf all = shelf();
  const std::string path = write(tensors);
  EXPECT_EQ(all.open(path).unmatched_note(), path +
                                                 ": 5 of its 8 tensors match nothing in this model and are left out: "
                                                 "diffusion_model.blocks.0.cross_attn.k_img.alpha, "
                                                 "diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight, "
                                                 "diffusion_model.blocks.0.cross_attn.k_img.lora_up.weight, "
                                                 "diffusion_model.blocks.0.self_attn.norm_q.diff_b, step");
  EXPECT_ERROR(all.open(write({{"blocks.0.self_attn.q.diff", at::ones({kWidth, kWidth})},
                               {"transformer.blocks.0.attn1.to_q.diff", at::ones({kWidth, kWidth})}})),
               "blocks.0.self_attn.q", "transformer.blocks.0.attn1.to_q", "under two names");
  tensors.clear();
  tensors["lora_unet_input_blocks_1_q.lora_down.weight"] = at::ones({2, 3});
  tensors["lora_unet_input_blocks_1_q.lora_up.weight"] = at::ones({3, 2});
  EXPECT_ERROR(all.open(write(tensors)), "changes nothing in this model", "none of its 2 tensors",
               "lora_unet_input_blocks_1_q.lora_down.weight");
}

TEST_F(LoraMatch, ALoraForSoftmaxAttentionIsToldOnMhlaLayers) {
  Tensors tensors;
  for (const std::string block : {"0", "2"}) {
    tensors["transformer.blocks." + block + ".attn1.to_k.lora_A.weight"] = at::ones({2, kWidth});
    tensors["transformer.blocks." + block + ".attn1.to_k.lora_B.weight"] = at::ones({kWidth, 2});
  }
  const std::string path = write(tensors);
  const auto warning = [&](const std::string& file) {
    LoraShelf all = shelf();
    return softmax_warning(all.open(file), config);
  };
  EXPECT_EQ(warning(path), "");
  config.attention.kind = AttentionKind::kMhla;
  config.attention.softmax_layers = {2};
  EXPECT_TRUE(test::contains(warning(path), "trained for softmax attention")) << warning(path);
  EXPECT_TRUE(test::contains(warning(path), "mhla is the self-attention of 1 layer that it changes (0)"));
  config.attention.softmax_layers = {0, 2};
  EXPECT_EQ(warning(path), "");
  config.attention.softmax_layers = {};
  tensors["transformer.blocks.0.attn1.block_attn.conv.diff"] = at::zeros({1, 1, 1, 1});
  EXPECT_EQ(warning(write(tensors)), "");
  tensors.clear();
  tensors["transformer.blocks.0.attn2.to_k.lora_A.weight"] = at::ones({2, kWidth});
  tensors["transformer.blocks.0.attn2.to_k.lora_B.weight"] = at::ones({kWidth, 2});
  EXPECT_EQ(warning(write(tensors)), "");
}

TEST_F(LoraMatch, WeightsAreSwitchedAndRestored) {
  WanTransformer model(config);
  ParamList params;
  model.params(params);
  initialize(params, 1, at::kCPU);
  Tensors stored;
  for (const Param& param : params) stored[param.name] = param.slot->clone();
  const std::string key = "blocks.0.attn1.to_q.weight", other = "blocks.1.ffn.net.2.bias";
  const std::string first = write({{"transformer.blocks.0.attn1.to_q.diff", at::ones({kWidth, kWidth})}});
  const std::string second = write({{"diffusion_model.blocks.1.ffn.2.diff_b", at::ones({kWidth})}});
  const auto slot = [&](const std::string& name) {
    for (const Param& param : params)
      if (param.name == name) return *param.slot;
    return at::Tensor();
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const TensorFile file(stored, "model");
    bind(params, file, dtype, at::kCPU);
    std::vector<at::Tensor> bound;
    for (const Param& param : params) bound.push_back(*param.slot);
    LoraShelf all = shelf();
    LoraWeights weights(kLoraTransformer, file, dtype, at::kCPU);
    weights.apply(params, {{.path = first, .strength = 0.5}}, all);
    EXPECT_TRUE(at::equal(slot(key), (stored[key] + 0.5).to(dtype)));
    weights.apply(params, {{.path = second}}, all);
    EXPECT_TRUE(at::equal(slot(key), stored[key].to(dtype)));
    EXPECT_TRUE(at::equal(slot(other), (stored[other] + 1).to(dtype)));
    weights.apply(params, {{.path = second}, {.path = second, .strength = -3}, {.path = first}}, all);
    EXPECT_TRUE(at::equal(slot(key), (stored[key] + 1).to(dtype)));
    EXPECT_TRUE(at::equal(slot(other), (stored[other] - 2).to(dtype)));
    EXPECT_ERROR(weights.apply(params, {{.path = first}, {.path = folder / "none"}}, all), "none");
    weights.apply(params, {}, all);
    size_t at = 0;
    for (const Param& param : params) EXPECT_TRUE(at::equal(*param.slot, bound[at++])) << param.name;
  }
}

TEST_F(LoraMatch, KeysTellContentStrengthAndNetworkApart) {
  const Tensors tensors = {{"transformer.blocks.0.attn1.to_q.diff", at::ones({kWidth, kWidth})}};
  const std::string first = write(tensors), same = write(tensors);
  const std::string text = write({{"text_encoder.shared.diff", at::ones({5, kTextWidth})}});
  LoraShelf all = shelf();
  const auto key = [&](const std::string& path, double strength, const std::string& network = "") {
    return lora_key({{.path = path, .strength = strength}}, all, network);
  };
  EXPECT_EQ(key(first, 1), key(same, 1));
  EXPECT_NE(key(first, 1), key(first, 0.5));
  EXPECT_NE(key(first, 1), key(text, 1));
  EXPECT_EQ(key(first, 1, kLoraTextEncoder), "");
  EXPECT_NE(key(text, 1, kLoraTextEncoder), "");
  EXPECT_EQ(lora_key({}, all), "");
}

TEST_F(LoraMatch, InfoSaysRankBaseAndLayers) {
  Tensors tensors;
  for (int block = 0; block < 30; ++block) {
    const std::string layer = "lora_unet_blocks_" + std::to_string(block) + "_self_attn_q";
    tensors[layer + ".lora_down.weight"] = at::ones({block == 0 ? 8 : 4, 1536}, at::kBFloat16);
    tensors[layer + ".lora_up.weight"] = at::ones({1536, block == 0 ? 8 : 4}, at::kBFloat16);
    tensors[layer + ".alpha"] = at::scalar_tensor(2.0f);
  }
  const auto lora = read_lora_info(write(tensors));
  ASSERT_TRUE(lora.has_value());
  EXPECT_EQ(lora->ranks, (std::map<int64_t, int64_t>{{4, 29}, {8, 1}}));
  EXPECT_EQ(lora->scales, (std::set<double>{0.25, 0.5}));
  EXPECT_EQ(lora->layers, (std::map<std::string, int64_t>{{"lora_unet_blocks_N_self_attn_q", 30}}));
  EXPECT_TRUE(lora->base.starts_with("Wan 1.3B by its shapes")) << lora->base;
  const std::string text = to_text(*lora);
  for (const char* part : {"kohya or musubi", "rank       4 (29 layers), 8 (1 layer); alpha / rank 0.25, 0.5",
                           "layers     30", "lora_unet_blocks_N_self_attn_q x 30"})
    EXPECT_TRUE(test::contains(text, part)) << part << " in " << text;
  EXPECT_EQ(read_lora_info(write(tensors, {{"ss_base_model_version", "wan2.1"}}))->base, "wan2.1");
  EXPECT_FALSE(read_lora_info(write({{"a.weight", at::ones({1})}})).has_value());
  const auto broken = read_lora_info(write({{"a.lora_A.weight", at::ones({1, 2})}}));
  EXPECT_TRUE(test::contains(to_text(*broken), "cannot be used: ")) << to_text(*broken);
}

}  // namespace
}  // namespace tessera
