// Attention layers in bfloat16, whose attention is one kernel where the machine has one, beside the same layers from
// ATen operations.
#include <ATen/core/grad_mode.h>

#include <map>

#include "kernels/instruction_set.h"
#include "models/attention/image.h"
#include "models/attention/mhla.h"
#include "models/attention/softmax.h"
#include "tests/support/gradients.h"

namespace tessera {
namespace {

using test::noise;

constexpr int64_t kHeads = 2, kHeadDim = 64, kChannels = kHeads * kHeadDim;

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kFloat) - b).norm() / b.norm()).item<double>();
}

/// Random weights, mixing included.
template <class Layer>
std::map<std::string, at::Tensor*> fill(Layer& layer) {
  ParamList params;
  layer.params(params, "");
  initialize(params, 7, at::kCPU);
  std::map<std::string, at::Tensor*> slots;
  for (const Param& param : params) {
    *param.slot = *param.slot + 0.05 * noise(param.shape, 11 + slots.size());
    slots[param.name] = param.slot;
  }
  return slots;
}

AttentionConfig config_of(Normalizer normalizer) {
  AttentionConfig config;
  config.kind = AttentionKind::kMhla;
  config.block_layout = {2, 2, 2};
  config.block_tokens = Extent3{2, 3, 4};
  config.normalizer = normalizer;
  config.gated = config.lepe = config.qk_norm = true;
  return config;
}

void expect_same_counts(const NormalizerStats& a, const NormalizerStats& b) {
  ASSERT_EQ(a.values.defined(), b.values.defined());
  if (!a.values.defined()) return;
  EXPECT_TRUE(at::equal(a.values, b.values));
  EXPECT_TRUE(at::equal(a.near_zero, b.near_zero));
  EXPECT_TRUE(at::equal(a.negative, b.negative));
}

/// In bfloat16 the layer errs no more with its kernel than from ATen operations, and counts the same normalizers.
template <class Layer>
void expect_no_worse(const Layer& layer, const Extent3& grid) {
  const at::NoGradGuard inference;
  const at::Tensor x = noise({2, volume(grid), kChannels}, 3);
  const Rope rope = make_rope(grid, kHeadDim, at::kCPU);
  const at::Tensor wanted = layer(x, {grid, rope});
  NormalizerStats fused, composed;
  const at::Tensor out = layer(x.to(at::kBFloat16), {grid, rope, &fused});
  const LimitInstructions limit(InstructionSet::kAvx512);
  const at::Tensor plain = layer(x.to(at::kBFloat16), {grid, rope, &composed});
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  EXPECT_LE(distance(out, wanted), 1.05 * distance(plain, wanted) + 1e-4);
  EXPECT_LE(distance(out, wanted), 2e-2);
  expect_same_counts(fused, composed);
}

TEST(FusedAttention, MhlaErrsNoMoreThanItsParts) {
  for (const Normalizer normalizer : {Normalizer::kSums, Normalizer::kProducts, Normalizer::kNone})
    for (const Extent3& grid : {Extent3{4, 6, 8}, Extent3{3, 7, 9}}) {
      SCOPED_TRACE(c10::str(name_of(normalizer), ", grid of ", volume(grid)));
      MhlaAttention layer(config_of(normalizer), kHeads, kHeadDim, 1e-6);
      fill(layer);
      expect_no_worse(layer, grid);
    }
}

TEST(FusedAttention, ImageMhlaErrsNoMoreThanItsParts) {
  for (const bool qk_norm : {false, true}) {
    AttentionConfig config = config_of(Normalizer::kProducts);
    config.block_tokens = Extent3{1, 3, 4};
    config.qk_norm = qk_norm;
    ImageMhla layer(config, kHeads, kHeadDim, /*bias=*/true);
    fill(layer);
    expect_no_worse(layer, {1, 7, 9});
  }
}

TEST(FusedAttention, SoftmaxErrsNoMoreThanItsParts) {
  SoftmaxAttention layer(kHeads, kHeadDim, 1e-6);
  fill(layer);
  expect_no_worse(layer, {2, 5, 9});   // few keys
  expect_no_worse(layer, {4, 7, 11});  // many
}

/// A gradient is wanted of one weight alone: the layer has to be differentiable through it.
TEST(FusedAttention, GradientsReachEveryWeight) {
  const Extent3 grid{3, 3, 4};
  const at::Tensor x = noise({1, volume(grid), kChannels}, 3).to(at::kBFloat16);
  const AttentionInput input{grid, make_rope(grid, kHeadDim, at::kCPU)};
  const auto check = [&](auto& layer) {
    for (const auto& [name, slot] : fill(layer)) {
      SCOPED_TRACE(name);
      slot->requires_grad_();
      layer(x, input).sum().backward();
      EXPECT_TRUE(slot->grad().defined());
      slot->requires_grad_(false);
    }
  };
  MhlaAttention video(config_of(Normalizer::kSums), kHeads, kHeadDim, 1e-6);
  ImageMhla image(config_of(Normalizer::kSums), kHeads, kHeadDim, true);
  SoftmaxAttention softmax(kHeads, kHeadDim, 1e-6);
  check(video);
  check(image);
  check(softmax);
}

TEST(TokensOfBlocks, ByHand) {
  AttentionConfig config;
  config.block_tokens = Extent3{1, 2, 2};
  // Rows of 0 1 2 and 3 4 5: the second block keeps the last column.
  const at::Tensor wanted = at::tensor({0, 1, 3, 4, 2, -1, 5, -1}, at::kInt).view({2, 4});
  EXPECT_TRUE(at::equal(tokens_of_blocks(cut_into_blocks(config, {1, 2, 3})), wanted));
}

}  // namespace
}  // namespace tessera
