// Every published layout of DiT, DiT-MHLA and Stable Diffusion's autoencoder binds at its true sizes, by name and
// shape, on the meta device.
#include <gtest/gtest.h>

#include "checkpoints/dit/checkpoint.h"
#include "models/kl/autoencoder_kl.h"
#include "tests/support/key_list.h"
#include "weights/names.h"

namespace tessera {
namespace {

using test::checked;
using test::expect_binds;
using test::KeyList;

const JsonConfig kNothingBeside(nlohmann::json::object(), "x.json");

TEST(DitKeys, FacebookresearchXl2) {
  for (const int64_t pixels : {256, 512}) {
    SCOPED_TRACE(pixels);
    const TensorFile theirs = checked(KeyList("dit_xl_2_" + std::to_string(pixels)));
    const DitConfig config = describe_dit(theirs, {}, kNothingBeside, {}).config;
    EXPECT_EQ(config.num_layers, 28);
    EXPECT_EQ(config.num_attention_heads, 16);
    EXPECT_EQ(config.attention_head_dim, 72);
    EXPECT_EQ(config.sample_size, pixels / 8);
    EXPECT_EQ(config.patch_size, 2);
    EXPECT_EQ(config.in_channels, 4);
    EXPECT_EQ(config.out_channels, 8);
    EXPECT_EQ(config.num_embeds_ada_norm, 1000);
    EXPECT_EQ(config.attention.kind, AttentionKind::kSoftmax);
    expect_binds<Dit>(canonical_tensors(theirs, "DiTTransformer2DModel"), config);
  }
}

TEST(DitKeys, Mhla) {
  for (const std::string size : {"s", "xl"}) {
    SCOPED_TRACE(size);
    const TensorFile theirs = checked(KeyList("dit_mhla_" + size + "_2_256"));
    const DitConfig config = describe_dit(theirs, {}, kNothingBeside, 16).config;
    EXPECT_EQ(config.num_attention_heads, size == "s" ? 6 : 16);
    EXPECT_EQ(config.attention.kind, AttentionKind::kMhla);
    EXPECT_EQ(config.attention.block_layout, (Extent3{1, 4, 4}));  // 16x16 tokens in blocks of 4x4
    EXPECT_EQ(config.attention.normalizer, Normalizer::kProducts);
    EXPECT_TRUE(config.attention.lepe);
    EXPECT_FALSE(config.attention.qk_norm);
    expect_binds<Dit>(canonical_tensors(theirs, "DiTTransformer2DModel"), config);
    EXPECT_THROW(describe_dit(theirs, {}, kNothingBeside, 64), Error);
  }
}

TEST(DitKeys, Diffusers) {
  const TensorFile file = checked(KeyList("diffusers_dit_xl_2_256"));
  DitConfig config = DitConfig::from_json(
      {{{"out_channels", 8}, {"num_layers", 28}, {"num_attention_heads", 16}, {"attention_head_dim", 72}},
       "config.json"});
  expect_binds<Dit>(canonical_tensors(file, "DiTTransformer2DModel"), config);
}

AutoencoderKlConfig stable_diffusion() {
  return AutoencoderKlConfig::from_json(
      {{{"block_out_channels", {128, 256, 512, 512}}, {"layers_per_block", 2}}, "sd"});
}

TEST(DitKeys, StableDiffusionAutoencoder) {
  expect_binds<AutoencoderKl>(canonical_tensors(checked(KeyList("diffusers_sd_vae")), "AutoencoderKL"),
                              stable_diffusion());
}

TEST(DitKeys, StableDiffusionAutoencoderInTheNamesItWasPublishedWith) {
  const std::map<std::string, std::string> old = {
      {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
  std::map<std::string, at::Tensor> tensors;
  const TensorFile today = KeyList("diffusers_sd_vae").file();
  for (const auto& [today_name, tensor] : today.tensors()) {
    std::string name = today_name;
    for (const auto& [ours, theirs] : old)
      if (const size_t at = name.find(".attentions.0." + ours + "."); at != std::string::npos)
        name.replace(at + 14, ours.size(), theirs);
    tensors[name] = tensor;
  }
  ASSERT_TRUE(tensors.count("decoder.mid_block.attentions.0.proj_attn.weight"));
  expect_binds<AutoencoderKl>(canonical_tensors({tensors, "old"}, "AutoencoderKL"), stable_diffusion());
}

TEST(DitKeys, StableDiffusionAutoencoderOfTheOriginalCode) {
  const TensorFile theirs = checked(KeyList("ldm_sd_vae"));
  expect_binds<AutoencoderKl>(canonical_tensors(theirs, "AutoencoderKL"), stable_diffusion());
  std::map<std::string, at::Tensor> checkpoint;
  for (const auto& [name, tensor] : theirs.tensors()) checkpoint["first_stage_model." + name] = tensor;
  checkpoint["model.diffusion_model.out.0.weight"] = at::empty({4}, at::kMeta);
  expect_binds<AutoencoderKl>(canonical_tensors({checkpoint, "sd-v1-4.ckpt"}, "AutoencoderKL"), stable_diffusion());
}

TEST(DitKeys, HeadsAreKnownOrAskedFor) {
  const TensorFile theirs = KeyList("dit_mhla_s_2_256").file();
  const JsonConfig said({{"num_heads", 12}}, "x.json");
  EXPECT_EQ(describe_dit(theirs, {}, said, {}).config.num_attention_heads, 12);
  std::map<std::string, at::Tensor> shallow = theirs.tensors();
  for (int64_t layer = 3; layer < 12; ++layer)
    std::erase_if(shallow, [&](const auto& t) { return t.first.starts_with("blocks." + std::to_string(layer) + "."); });
  try {
    describe_dit({shallow, "shallow.pt"}, {}, kNothingBeside, {});
    FAIL() << "3 layers of width 384 are no published size";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("write {\"num_heads\": N} to x.json"), std::string::npos) << e.what();
  }
  EXPECT_THROW(describe_dit(theirs, {}, {{{"num_heads", 7}}, "x.json"}, {}), Error);
}

TEST(DitKeys, PositionsInTheOrderOfBlocks) {
  const TensorFile theirs = KeyList("dit_mhla_s_2_256").file();
  const DitCheckpoint checkpoint = describe_dit(theirs, {}, {{{"position_order", "blocks"}}, "x.json"}, {});
  EXPECT_TRUE(checkpoint.block_positions);
  const at::Tensor order = block_order(checkpoint.config);
  EXPECT_EQ(order[4].item<int64_t>(), 16);   // the second row of the first block
  EXPECT_EQ(order[16].item<int64_t>(), 4);   // the second block begins in column 4
  EXPECT_EQ(order[64].item<int64_t>(), 64);  // the second row of blocks begins in row 4
}

TEST(DitKeys, RefusesShapesThatCannotBe) {
  const TensorFile theirs = KeyList("dit_mhla_s_2_256").file();
  const auto error_with = [&](const std::string& name, const std::vector<int64_t>& shape) -> std::string {
    std::map<std::string, at::Tensor> tensors = theirs.tensors();
    if (shape.empty())
      tensors.erase(name);
    else
      tensors[name] = at::empty(shape, at::kMeta);
    try {
      describe_dit({tensors, "x.pt"}, {}, kNothingBeside, {});
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  const auto says = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos ? testing::AssertionSuccess() : testing::AssertionFailure() << text;
  };
  EXPECT_TRUE(says(error_with("pos_embed", {}), "no tensor \"pos_embed\""));
  EXPECT_TRUE(says(error_with("pos_embed", {1, 250, 384}), "must be the square of a whole number, got 250"));
  EXPECT_TRUE(says(error_with("pos_embed", {256, 384}), "must have 3 dimensions"));
  EXPECT_TRUE(says(error_with("x_embedder.proj.weight", {384, 0, 2, 2}), "must have 4 dimensions"));
  EXPECT_TRUE(says(error_with("final_layer.linear.weight", {20, 384}), "predicts 5 channels from 4"));
  EXPECT_TRUE(
      says(error_with("blocks.0.attn.piece_attn.conv.weight", {9, 9, 1, 1}), "do not divide an image of 16x16"));
  EXPECT_TRUE(says(error_with("blocks.0.attn.piece_attn.conv.weight", {5, 5, 1, 1}), "the square of a whole number"));
  EXPECT_TRUE(says(error_with("blocks.0.mlp.fc1.weight", {}), "no tensor \"blocks.0.mlp.fc1.weight\""));
  const JsonConfig classes({{"num_classes", 10}}, "x.json");
  EXPECT_THROW(describe_dit(theirs, {}, classes, {}), Error);  // the table has 1001 rows
  EXPECT_FALSE(describe_dit(theirs, {}, {{{"num_classes", 1001}}, "x.json"}, {}).config.null_class);
}

}  // namespace
}  // namespace tessera
