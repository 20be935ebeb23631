// Every published layout of Wan 2.1 and Wan-MHLA binds at its true sizes, by name and shape, on the meta device.
#include <gtest/gtest.h>

#include "checkpoints/wan/configs.h"
#include "models/clip/clip_vision.h"
#include "models/umt5/umt5.h"
#include "models/wan/transformer.h"
#include "models/wan/vae.h"
#include "tests/support/key_list.h"
#include "weights/names.h"

namespace tessera {
namespace {

using test::expect_binds;
using test::KeyList;

TensorFile ours_of(const KeyList& keys, const std::string& class_name) {
  return canonical_tensors(test::checked(keys), class_name);
}

struct TransformerKeys : testing::TestWithParam<const char*> {};

TEST_P(TransformerKeys, BindAtTrueSize) {
  const TensorFile ours = ours_of(KeyList(GetParam()), "WanTransformer3DModel");
  const WanTransformerConfig config = WanTransformerConfig::from_json(transformer_config_of(ours));
  const bool large = std::string(GetParam()).ends_with("14b");  // A14B too
  EXPECT_EQ(config.num_layers, large ? 40 : 30);
  EXPECT_EQ(config.num_attention_heads, large ? 40 : 12);
  EXPECT_EQ(config.attention_head_dim, 128);
  EXPECT_EQ(config.ffn_dim, large ? 13824 : 8960);
  EXPECT_EQ(config.attention.kind, AttentionKind::kSoftmax);
  expect_binds<WanTransformer>(ours, config);
}

INSTANTIATE_TEST_SUITE_P(Wan21, TransformerKeys,
                         testing::Values("wan2.1_t2v_1.3b", "wan2.1_t2v_14b", "wan2.1_i2v_14b", "wan2.1_flf2v_14b",
                                         "wan2.2_i2v_a14b", "diffusers_wan_t2v_1.3b", "diffusers_wan_t2v_14b",
                                         "diffusers_wan_i2v_14b", "diffusers_wan_flf2v_14b",
                                         "diffusers_wan2.2_i2v_a14b"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(WanKeys, ImageModelsAreToldApartByTheirTensors) {
  for (const std::string name : {"wan2.1_i2v_14b", "wan2.1_flf2v_14b", "wan2.2_i2v_a14b", "diffusers_wan_i2v_14b",
                                 "diffusers_wan_flf2v_14b", "diffusers_wan2.2_i2v_a14b"}) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "WanTransformer3DModel");
    const WanTransformerConfig config = WanTransformerConfig::from_json(transformer_config_of(ours));
    EXPECT_EQ(config.in_channels, 36);
    EXPECT_EQ(config.out_channels, 16);
    EXPECT_EQ(config.image_dim, name.ends_with("a14b") ? 0 : 1280);
    EXPECT_EQ(config.image_positions, name.find("flf2v") == std::string::npos ? 0 : 514);
    const nlohmann::json release = {{"dim", 5120},     {"ffn_dim", 13824}, {"freq_dim", 256},     {"in_dim", 36},
                                    {"num_heads", 40}, {"num_layers", 40}, {"model_type", "i2v"}, {"out_dim", 16}};
    EXPECT_EQ(with_image_sizes(diffusers_transformer_config({release, "config.json"}), ours).json(),
              transformer_config_of(ours).json());
  }
}

TEST(WanKeys, TheTransformerOfTI2V) {
  for (const char* name : {"wan2.2_ti2v_5b", "diffusers_wan2.2_ti2v_5b"}) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "WanTransformer3DModel");
    const WanTransformerConfig config = WanTransformerConfig::from_json(transformer_config_of(ours));
    EXPECT_EQ(config.num_attention_heads, 24);
    EXPECT_EQ(config.num_layers, 30);
    EXPECT_EQ(config.in_channels, 48);
    EXPECT_EQ(config.ffn_dim, 14336);
    expect_binds<WanTransformer>(ours, config);
  }
}

TEST(WanKeys, TheResidualAutoencoder) {
  for (const char* name : {"wan2.2_vae", "diffusers_wan2.2_vae"}) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "AutoencoderKLWan");
    const WanVaeConfig config = WanVaeConfig::from_json(vae_config_of(ours));
    EXPECT_TRUE(config.is_residual);
    EXPECT_EQ(config.base_dim, 160);
    EXPECT_EQ(config.decoder_base_dim, 256);
    EXPECT_EQ(config.z_dim, 48);
    EXPECT_EQ(config.patch_size, 2);
    EXPECT_EQ(config.num_res_blocks, 2);
    EXPECT_EQ(config.dim_mult, (std::vector<int64_t>{1, 2, 4, 4}));
    EXPECT_EQ(config.temperal_downsample, (std::vector<bool>{false, true, true}));
    expect_binds<WanVae>(ours, config);
  }
}

TEST(WanKeys, TheImageEncoder) {
  for (const char* name : {"wan2.1_clip_visual", "transformers_clip_vit_h"}) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "CLIPVisionModel");
    const ClipVisionConfig config = ClipVisionConfig::from_json(image_encoder_config_of(ours));
    EXPECT_EQ(config.hidden_size, 1280);
    EXPECT_EQ(config.num_hidden_layers, 32);
    EXPECT_EQ(config.num_attention_heads, 16);
    EXPECT_EQ(config.image_size, 224);
    EXPECT_EQ(config.patch_size, 14);
    EXPECT_EQ(config.tokens(), 257);
    expect_binds<ClipVision>(ours, config);
  }
}

/// The config.json of T2V releases (of A14B each expert's) and of TI2V; those with a picture are above.
TEST(WanKeys, ConfigJsonOfTheReleaseSaysWhatItsShapesSay) {
  nlohmann::json release = {{"_class_name", "WanModel"}, {"dim", 1536},   {"eps", 1e-6},         {"ffn_dim", 8960},
                            {"freq_dim", 256},           {"in_dim", 16},  {"model_type", "t2v"}, {"num_heads", 12},
                            {"num_layers", 30},          {"out_dim", 16}, {"text_len", 512}};
  const auto expect_same = [&](const char* name) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "WanTransformer3DModel");
    EXPECT_EQ(diffusers_transformer_config({release, "config.json"}).json(), transformer_config_of(ours).json());
  };
  expect_same("wan2.1_t2v_1.3b");
  release.update({{"dim", 5120}, {"ffn_dim", 13824}, {"num_heads", 40}, {"num_layers", 40}});
  expect_same("wan2.1_t2v_14b");
  release.update({{"model_type", "ti2v"}, {"dim", 3072}, {"ffn_dim", 14336}, {"num_heads", 24}, {"num_layers", 30}});
  release.update({{"in_dim", 48}, {"out_dim", 48}});
  expect_same("wan2.2_ti2v_5b");
}

TEST(WanKeys, Autoencoder) {
  for (const char* name : {"wan2.1_vae", "diffusers_wan_vae"}) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "AutoencoderKLWan");
    const WanVaeConfig config = WanVaeConfig::from_json(vae_config_of(ours));
    EXPECT_EQ(config.base_dim, 96);
    EXPECT_EQ(config.z_dim, 16);
    EXPECT_EQ(config.dim_mult, (std::vector<int64_t>{1, 2, 4, 4}));
    EXPECT_EQ(config.num_res_blocks, 2);
    EXPECT_EQ(config.temperal_downsample, (std::vector<bool>{false, true, true}));
    expect_binds<WanVae>(ours, config);
  }
}

TEST(WanKeys, TextEncoder) {
  for (const char* name : {"wan2.1_umt5_xxl", "transformers_umt5_xxl"}) {
    SCOPED_TRACE(name);
    const TensorFile ours = ours_of(KeyList(name), "UMT5EncoderModel");
    const Umt5Config config = Umt5Config::from_json(text_encoder_config_of(ours));
    EXPECT_EQ(config.vocab_size, 256384);
    EXPECT_EQ(config.d_model, 4096);
    EXPECT_EQ(config.d_kv, 64);
    EXPECT_EQ(config.d_ff, 10240);
    EXPECT_EQ(config.num_layers, 24);
    EXPECT_EQ(config.num_heads, 64);
    expect_binds<Umt5Encoder>(ours, config);
  }
}

/// The layers that Wan_1300M_hybrid_mhla.yaml lists; the other ten keep softmax.
TEST(WanKeys, MhlaHybridAndFull) {
  for (const char* name : {"wan_mhla_hybrid", "wan_mhla_full"}) {
    SCOPED_TRACE(name);
    const bool hybrid = std::string(name) == "wan_mhla_hybrid";
    const TensorFile ours = ours_of(KeyList(name), "WanTransformer3DModel");
    ASSERT_TRUE(has_mhla_layers(ours));
    nlohmann::json json = transformer_config_of(ours).json();
    json["attention"]["block_layout"] = {3, 5, 10};
    json["attention"]["normalizer"] = "none";
    const WanTransformerConfig config = WanTransformerConfig::from_json({json, name});
    EXPECT_EQ(config.num_attention_heads, 12);
    EXPECT_TRUE(config.attention.gated);
    EXPECT_FALSE(config.attention.lepe);
    std::vector<int64_t> softmax;
    for (int64_t layer = 0; hybrid && layer < 30; layer += 3) softmax.push_back(layer);
    EXPECT_EQ(config.attention.softmax_layers, softmax);
    expect_binds<WanTransformer>(ours, config);
  }
}

}  // namespace
}  // namespace tessera
