#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/params.h"
#include "models/attention/image.h"
#include "models/attention/lepe.h"
#include "models/attention/mhla.h"
#include "models/attention/rope.h"
#include "tests/support/emulated_kernels.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

using test::EmulatedKernels;
using test::exact;
using test::expect_rounded_once;
using test::GuardedMemory;
using test::kDeviceTypes;
using test::kOrders;
using test::noise;

TEST(DeviceDepthwise, EqualsTheCompositeInFloat64) {
  const GuardedMemory guarded;
  struct Case {
    Extent3 grid;
    int64_t channels;
    std::vector<int64_t> kernel;
  };
  const std::vector<Case> cases = {{{2, 3, 9}, 7, {3, 3, 3}}, {{1, 2, 2}, 132, {3, 3, 3}}, {{3, 1, 5}, 6, {3, 3, 3}},
                                   {{1, 4, 6}, 40, {3, 3}},   {{2, 5, 3}, 12, {5, 5}},     {{1, 1, 1}, 1, {1, 1}},
                                   {{1, 2, 11}, 258, {9, 9}}};
  for (const Case& c : cases)
    for (const auto dtype : kDeviceTypes) {
      std::vector<int64_t> shape{c.channels, 1};
      shape.insert(shape.end(), c.kernel.begin(), c.kernel.end());
      const at::Tensor x = noise({2, volume(c.grid), c.channels}, 1).to(dtype), base = noise(x.sizes(), 2).to(dtype);
      const at::Tensor weight = noise(shape, 3).to(dtype), bias = noise({c.channels}, 4).to(dtype);
      const at::Tensor want = add_depthwise(exact(base), exact(x), c.grid, exact(weight), exact(bias));
      for (const unsigned order : kOrders) {
        SCOPED_TRACE(testing::Message() << c.channels << " channels, " << dtype << ", order " << order);
        const EmulatedKernels emulated(order);
        expect_rounded_once(add_depthwise(base, x, c.grid, weight, bias), want, 1e-5);
      }
    }
}

TEST(DeviceNormalizer, EqualsTheCompositeInFloat64) {
  const GuardedMemory guarded;
  for (const Extent3& size : {Extent3{2, 2, 3}, Extent3{3, 5, 4}})
    for (const int64_t head_dim : {1, 5, 70})
      for (const auto form : {Normalizer::kProducts, Normalizer::kSums}) {
        AttentionConfig config;
        config.block_tokens = size;
        const BlockGrid cut = cut_into_blocks(config, {3, 5, 4});
        const int64_t M = volume(cut.blocks);
        const at::Tensor mask = block_mask(cut, at::kFloat);
        const at::Tensor q = noise({M, 1, 2, volume(size), head_dim}, 1).abs() * mask;
        const at::Tensor k = noise(q.sizes(), 2).abs() * mask, mixing = noise({M, M}, 3);
        const at::Tensor want = mhla_normalizer(exact(q), exact(k), exact(mixing), cut, form);
        for (const unsigned order : kOrders) {
          SCOPED_TRACE(testing::Message() << "heads of " << head_dim << ", order " << order);
          const EmulatedKernels emulated(order);
          expect_rounded_once(mhla_normalizer(q, k, mixing, cut, form), want);
        }
      }
}

AttentionConfig mhla_config(Normalizer normalizer) {
  AttentionConfig config;
  config.kind = AttentionKind::kMhla;
  config.block_layout = {1, 2, 2};
  config.gated = config.lepe = config.qk_norm = true;
  config.normalizer = normalizer;
  return config;
}

/// Whole layers, with the kernels and without them: a grid that the blocks divide, and a ragged one.
TEST(DeviceLayers, EqualTheComposites) {
  const at::NoGradGuard inference;
  for (const auto normalizer : {Normalizer::kProducts, Normalizer::kSums, Normalizer::kNone})
    for (const Extent3& grid : {Extent3{1, 4, 6}, Extent3{1, 3, 5}}) {
      const AttentionConfig config = mhla_config(normalizer);
      MhlaAttention video(config, 2, 12, 1e-6);
      ImageMhla image(config, 2, 12, /*bias=*/true);
      ParamList params;
      video.params(params, "video.");
      image.params(params, "image.");
      initialize(params, 1, at::kCPU);
      const at::Tensor x = noise({2, volume(grid), 24}, 1);
      const AttentionInput input{grid, make_rope(grid, 12, at::kCPU), nullptr, nullptr};
      const at::Tensor want_video = video(x, input), want_image = image(x, input);
      const GuardedMemory guarded;
      const EmulatedKernels emulated(7);
      EXPECT_CLOSE(video(x, input), want_video, 1e-5);
      EXPECT_CLOSE(image(x, input), want_image, 1e-5);
    }
}

}  // namespace
}  // namespace tessera
