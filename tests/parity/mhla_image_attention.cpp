// MHLA's image attention (MHLA4DiT) and the mixing matrices before training (BlockDistanceConv).
#include "models/attention/blocks.h"
#include "models/attention/image.h"
#include "models/attention/mixing.h"
#include "tests/support/fixture.h"
#include "weights/dit_names.h"

namespace tessera {
namespace {

constexpr double kTolerance = 1e-5;

const std::map<std::string, MixingTransform> kTransforms = {{"linear", MixingTransform::kLinear},
                                                            {"cos", MixingTransform::kCos},
                                                            {"exp", MixingTransform::kExp},
                                                            {"gaussian", MixingTransform::kGaussian},
                                                            {"local", MixingTransform::kLocal}};

int64_t root(int64_t square) {
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(square))));
  TORCH_CHECK(side * side == square, square, " is no square");
  return side;
}

/// One case's weights as those of block 0 of a checkpoint, in our names without the prefix of the block.
TensorFile weights_of(const test::Fixture& fixture, const std::string& name) {
  std::map<std::string, at::Tensor> tensors;
  const TensorFile theirs = test::part_of(fixture.weights(), name + ".");
  for (const auto& [key, tensor] : theirs.tensors()) tensors["blocks.0.attn." + key] = tensor;
  tensors["blocks.0.mlp.fc1.weight"] = at::zeros({1});
  return test::part_of(original_dit_tensors({std::move(tensors), name}), "transformer_blocks.0.attn1.");
}

TEST(MhlaImageAttention, EqualsTheReference) {
  const test::Fixture fixture("mhla_image_attention");
  ASSERT_FALSE(fixture.config.at("cases").empty());
  for (const auto& item : fixture.config.at("cases")) {
    const std::string name = item.at("name");
    SCOPED_TRACE(name);
    const int64_t heads = item.at("heads"), dim = item.at("dim"), side = root(item.at("embed_len"));
    const int64_t blocks = side / root(item.at("block_size"));
    AttentionConfig config;
    config.kind = AttentionKind::kMhla;
    config.block_layout = {1, blocks, blocks};
    config.lepe = true;
    config.qk_norm = item.value("qk_norm", false);
    config.normalizer = Normalizer::kProducts;
    const auto attention = make_image_attention(config.kind, config, heads, dim / heads, item.value("qkv_bias", false));
    test::load(*attention, weights_of(fixture, name));

    const AttentionInput input{{1, side, side}, {}};
    const BlockGrid cut = cut_into_blocks(config, input.grid);
    const at::Tensor grouped = fixture[name + ".x"];  // [B, blocks, tokens, C]
    const at::Tensor x = ungroup_blocks(grouped.unsqueeze(2).permute({1, 0, 2, 3, 4}), cut);
    const at::Tensor out = group_blocks((*attention)(x, input), 1, cut);  // [blocks, B, 1, tokens, C]
    EXPECT_CLOSE(out.squeeze(2).transpose(0, 1), fixture[name + ".out"], kTolerance);
  }
}

TEST(MhlaImageAttention, MixingBeforeTrainingEqualsTheReference) {
  const test::Fixture fixture("mhla_image_attention");
  int64_t seen = 0;
  for (const std::string& name : fixture.io.names()) {
    if (!name.starts_with("mixing_init.")) continue;
    SCOPED_TRACE(name);
    const at::Tensor want = fixture[name];
    const int64_t side = root(want.size(0));
    const at::Tensor mixing = initial_mixing({1, side, side}, kTransforms.at(name.substr(name.rfind('.') + 1)));
    EXPECT_CLOSE(mixing, want, kTolerance);
    ++seen;
  }
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace tessera
