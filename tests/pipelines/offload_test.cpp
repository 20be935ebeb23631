#include "pipelines/offload.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "pipelines/families/wan/memory.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

constexpr int64_t kMillion = 1'000'000, kBillion = 1'000'000'000;

/// Wan 2.1 1.3B in bfloat16 at 832x480x81, in round numbers.
ModelBytes small_wan() {
  return {.text_encoder = {.weights = 11'400 * kMillion,
                           .largest_layer = 385 * kMillion,
                           .outside_layers = 2'100 * kMillion,
                           .activations = 200 * kMillion},
          .transformer = {.weights = 2'900 * kMillion,
                          .largest_layer = 92 * kMillion,
                          .outside_layers = 100 * kMillion,
                          .activations = 3'200 * kMillion},
          .autoencoder = {.weights = 250 * kMillion, .activations = 4'000 * kMillion}};
}

/// Wan 2.1 14B.
ModelBytes large_wan() {
  ModelBytes sizes = small_wan();
  sizes.transformer = {.weights = 28'600 * kMillion,
                       .largest_layer = 700 * kMillion,
                       .outside_layers = 600 * kMillion,
                       .activations = 8'600 * kMillion};
  return sizes;
}

TEST(PlanOffload, OnACardOf24Gigabytes) {
  // 11.4 + 2.9 + 0.25 + the largest activations, 4.0 = 18.55 GB; free 23.5 - 0.805.
  const OffloadPlan small = plan_offload(small_wan(), 23'500 * kMillion, Offload::kAuto);
  EXPECT_FALSE(small.in_turn);
  EXPECT_EQ(small.peak, 18'550 * kMillion);
  EXPECT_EQ(small.budget, 23'500 * kMillion - (int64_t{768} << 20));
  EXPECT_TRUE(small.fits());

  // The text encoder, 11.6, fits; 28.6 + 8.6 does not: 0.6 + 2 * 0.7 + 8.6 = 10.6.
  const OffloadPlan large = plan_offload(large_wan(), 23'500 * kMillion, Offload::kAuto);
  EXPECT_TRUE(large.in_turn);
  EXPECT_FALSE(large.stream_text_encoder);
  EXPECT_TRUE(large.stream_transformer);
  EXPECT_EQ(large.peak, 11'600 * kMillion);
  EXPECT_TRUE(large.fits());
}

TEST(PlanOffload, OnACardOf12Gigabytes) {
  // 11.6 for the text encoder is more than 11.7 - 0.805: 2.1 + 2 * 0.385 + 0.2 = 3.07. The transformer takes 6.1.
  const OffloadPlan small = plan_offload(small_wan(), 11'700 * kMillion, Offload::kAuto);
  EXPECT_TRUE(small.in_turn);
  EXPECT_TRUE(small.stream_text_encoder);
  EXPECT_FALSE(small.stream_transformer);
  EXPECT_EQ(small.peak, 6'100 * kMillion);
  EXPECT_TRUE(small.fits());

  const OffloadPlan large = plan_offload(large_wan(), 11'700 * kMillion, Offload::kAuto);
  EXPECT_TRUE(large.stream_transformer);
  EXPECT_EQ(large.peak, 10'600 * kMillion);
  EXPECT_TRUE(large.fits());
}

TEST(PlanOffload, OnACardOf8Gigabytes) {
  const OffloadPlan small = plan_offload(small_wan(), 7'700 * kMillion, Offload::kAuto);
  EXPECT_TRUE(small.stream_text_encoder);
  EXPECT_FALSE(small.stream_transformer);  // 6.1 of 6.895
  EXPECT_EQ(small.peak, 6'100 * kMillion);
  EXPECT_TRUE(small.fits());

  const OffloadPlan large = plan_offload(large_wan(), 7'700 * kMillion, Offload::kAuto);
  EXPECT_EQ(large.peak, 10'600 * kMillion);
  EXPECT_FALSE(large.fits());
  EXPECT_TRUE(offload_text(large).ends_with("this may not fit: try a smaller --size, fewer --frames or --vae-tile 256"))
      << offload_text(large);
}

TEST(PlanOffload, APolicyIsDoneWhetherItFitsOrNot) {
  const OffloadPlan none = plan_offload(large_wan(), kBillion, Offload::kNone);
  EXPECT_FALSE(none.in_turn);
  EXPECT_EQ(none.peak, 11'400 * kMillion + 28'600 * kMillion + 250 * kMillion + 8'600 * kMillion);
  const OffloadPlan parts = plan_offload(small_wan(), kBillion, Offload::kParts);
  EXPECT_TRUE(parts.in_turn);
  EXPECT_FALSE(parts.stream_text_encoder || parts.stream_transformer);
  EXPECT_EQ(parts.peak, 11'600 * kMillion);
  const OffloadPlan layers = plan_offload(small_wan(), 100 * kBillion, Offload::kLayers);
  EXPECT_TRUE(layers.stream_text_encoder && layers.stream_transformer);
  EXPECT_EQ(layers.peak, 4'250 * kMillion);  // the autoencoder's, whose layers are not streamed
}

TEST(PlanOffload, WhatIsDoneIsSaid) {
  EXPECT_EQ(offload_text(plan_offload(small_wan(), 23'500 * kMillion, Offload::kAuto)),
            "GPU memory: about 18.6 GB needed, 22.7 GB free; everything stays on the GPU");
  EXPECT_EQ(
      offload_text(plan_offload(small_wan(), 11'700 * kMillion, Offload::kAuto)),
      "GPU memory: about 6.1 GB needed, 10.9 GB free; parts come in turn, layers of the text encoder are streamed");
  EXPECT_EQ(find_offload("parts"), Offload::kParts);
  EXPECT_ERROR(find_offload("part"), "--offload: unknown value \"part\"", "did you mean parts?");
}

TEST(Activations, ByHand) {
  WanTransformerConfig config;
  config.num_attention_heads = 12;
  config.attention_head_dim = 128;
  config.ffn_dim = 8960;
  // 4 * 1536 * 2 = 12,288 and max(6 * 1536 * 4 = 36,864, 2 * 8960 * 2 = 35,840) bytes a token.
  EXPECT_EQ(denoiser_activations(config, 2, 31'500, 2), 63'000LL * (12'288 + 36'864));
  Umt5Config text;
  text.num_heads = 64;
  text.d_ff = 10'240;
  EXPECT_EQ(text_activations(text, 512, 2), 3LL * 64 * 512 * 512 * 4);
  EXPECT_EQ(text_activations(text, 8, 2), 3LL * 8 * 10'240 * 2);
}

}  // namespace
}  // namespace tessera
