#include "kernels/norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/adaptive_norm.h"
#include "models/attention/blocks.h"
#include "models/attention/rope.h"
#include "tests/support/emulated_kernels.h"

// Every kernel against float64, in three dtypes, odd sizes and several orders of threads; every tensor is guarded.
namespace tessera {
namespace {

using test::EmulatedKernels;
using test::exact;
using test::expect_rounded_once;
using test::GuardedMemory;
using test::kDeviceTypes;
using test::kOrders;
using test::noise;

struct Shape {
  int64_t batch, heads, head_dim;
  Extent3 grid, size;
};

/// Whole and ragged blocks; vectors of four, pairs, and widths that leave lanes of a warp without work.
const std::vector<Shape> kShapes = {{1, 3, 20, {2, 4, 6}, {1, 2, 3}},
                                    {2, 2, 6, {3, 5, 2}, {2, 2, 2}},
                                    {1, 1, 2, {1, 1, 1}, {1, 1, 1}},
                                    {2, 1, 132, {1, 3, 5}, {1, 2, 4}},
                                    {1, 12, 128, {1, 2, 3}, {1, 2, 2}}};

BlockGrid cut_of(const Shape& shape) {
  AttentionConfig config;
  config.block_tokens = shape.size;
  return cut_into_blocks(config, shape.grid);
}

RmsNorm norm_of(int64_t width) {
  RmsNorm norm;
  norm.weight = 1 + 0.3 * noise({width}, 2);
  norm.eps = 1e-3;
  return norm;
}

RmsNorm exact(const RmsNorm& norm) {
  RmsNorm wide = norm;
  wide.weight = norm.weight.to(at::kDouble);
  return wide;
}

TEST(DeviceFeatures, EqualTheCompositeInFloat64) {
  const GuardedMemory guarded;
  for (const Shape& shape : kShapes)
    for (const auto dtype : kDeviceTypes)
      for (const unsigned order : kOrders) {
        SCOPED_TRACE(testing::Message() << shape.heads << " x " << shape.head_dim << ", " << dtype << ", order "
                                        << order);
        const BlockGrid cut = cut_of(shape);
        const int64_t C = shape.heads * shape.head_dim;
        const at::Tensor x = noise({shape.batch, volume(shape.grid), C}, 1).to(dtype);
        const RmsNorm norm = norm_of(C);
        const Rope rope = make_rope(shape.grid, shape.head_dim, at::kCPU);
        const BlockFeatures want = block_features_composite(exact(x), exact(norm), rope, shape.heads, cut, true);
        const EmulatedKernels emulated(order);
        const BlockFeatures got = block_features(x, norm, rope, shape.heads, cut, true);
        EXPECT_EQ(got.rotated.scalar_type(), dtype);
        EXPECT_EQ(got.unrotated.scalar_type(), at::kFloat);
        expect_rounded_once(got.rotated, want.rotated);
        expect_rounded_once(got.unrotated, want.unrotated);
        EXPECT_FALSE(block_features(x, norm, rope, shape.heads, cut, false).unrotated.defined());
      }
}

TEST(DeviceFeatures, WithoutNormAndRotation) {
  const GuardedMemory guarded;
  for (const auto dtype : kDeviceTypes)
    for (const int64_t head_dim : {1, 5, 16}) {
      const Shape shape{2, 3, head_dim, {1, 3, 5}, {1, 2, 2}};
      const BlockGrid cut = cut_of(shape);
      const at::Tensor x = noise({2, 15, 3 * head_dim}, 1).to(dtype);
      const at::Tensor want = group_blocks(at::relu(exact(x)) + 1e-6, 3, cut);
      const EmulatedKernels emulated(7);
      const auto* kernels = device_kernels(x);
      ASSERT_NE(kernels, nullptr);
      const at::Tensor got =
          device_block_features(*kernels, x, {.heads = 3}, grid_blocks(cut), at::kFloat, false).first;
      expect_rounded_once(got, want);
    }
}

TEST(DeviceFeatures, ANaNStaysOne) {
  const Shape shape{1, 1, 4, {1, 1, 2}, {1, 1, 1}};
  at::Tensor x = at::ones({1, 2, 4});
  x[0][1][2] = std::nan("");
  const EmulatedKernels emulated;
  const BlockFeatures got =
      block_features(x, norm_of(4), make_rope(shape.grid, 4, at::kCPU), 1, cut_of(shape), /*with_unrotated=*/true);
  EXPECT_FALSE(got.rotated[0].isnan().any().item<bool>());
  EXPECT_TRUE(got.rotated[1].isnan().all().item<bool>());
}

TEST(DeviceRmsNorm, EqualsTheCompositeInFloat64) {
  const GuardedMemory guarded;
  for (const auto dtype : kDeviceTypes)
    for (const int64_t width : {1, 6, 17, 40, 384, 1540})
      for (const unsigned order : kOrders) {
        SCOPED_TRACE(testing::Message() << dtype << ", " << width << " wide, order " << order);
        const at::Tensor x = noise({2, 3, width}, 1).to(dtype);
        const RmsNorm norm = norm_of(width);
        const at::Tensor want = rms_norm_composite(exact(x), exact(norm).weight, norm.eps, at::kDouble);
        const EmulatedKernels emulated(order);
        expect_rounded_once(norm(x), want);
        EXPECT_EQ(norm.wide(x).scalar_type(), at::kFloat);
        expect_rounded_once(norm.wide(x), want);
      }
}

TEST(DeviceRmsNorm, TakesPointersThatAreNotAligned) {
  const GuardedMemory guarded;
  const at::Tensor x = noise({41}, 1).to(at::kBFloat16).narrow(0, 1, 40).view({2, 20});
  const RmsNorm norm = norm_of(20);
  const EmulatedKernels emulated;
  expect_rounded_once(norm(x), rms_norm_composite(exact(x), exact(norm).weight, norm.eps, at::kDouble));
}

TEST(DeviceUngroup, EqualsTheCompositeInFloat64) {
  const GuardedMemory guarded;
  for (const Shape& shape : kShapes)
    for (const auto dtype : kDeviceTypes)
      for (const unsigned order : kOrders) {
        SCOPED_TRACE(testing::Message() << shape.heads << " x " << shape.head_dim << ", " << dtype << ", order "
                                        << order);
        const BlockGrid cut = cut_of(shape);
        const int64_t M = volume(cut.blocks), P = volume(cut.size), C = shape.heads * shape.head_dim;
        const at::Tensor gate = noise({shape.batch, volume(shape.grid), C}, 4).to(dtype);
        at::Tensor n = noise({M, shape.batch, shape.heads, P, 1}, 5);
        n.view({-1})[0] = 1e-9;
        const RmsNorm norm = norm_of(shape.head_dim);
        for (const auto from : {at::kFloat, dtype}) {
          const at::Tensor x = noise({M, shape.batch, shape.heads, P, shape.head_dim}, 3).to(from);
          const RmsNorm wide = exact(norm);
          const at::Tensor want = ungroup_results(exact(x), exact(n), &wide, exact(gate), cut, at::kDouble);
          const at::Tensor plain = ungroup_results(exact(x), {}, nullptr, {}, cut, at::kDouble);
          const EmulatedKernels emulated(order);
          expect_rounded_once(ungroup_results(x, n, &norm, gate, cut, dtype), want);
          expect_rounded_once(ungroup_results(x, {}, nullptr, {}, cut, dtype), plain);
        }
      }
}

TEST(DeviceAdaptiveNorm, EqualsTheCompositeInFloat64) {
  const GuardedMemory guarded;
  for (const auto dtype : kDeviceTypes)
    for (const int64_t width : {1, 6, 17, 40, 260, 1540})
      for (const unsigned order : kOrders) {
        SCOPED_TRACE(testing::Message() << dtype << ", " << width << " wide, order " << order);
        const at::Tensor x = noise({2, 3, width}, 1).to(dtype), update = noise({2, 3, width}, 2).to(dtype);
        const auto m = noise({2, 3, width}, 3).to(dtype).chunk(3, 1);  // gate, scale, shift, each [2, 1, C]
        const at::Tensor weight = noise({width}, 4).to(dtype), bias = noise({width}, 5).to(dtype);
        const at::Tensor want = adaptive_norm_composite(exact(x), exact(m[2]), exact(m[1]), 1e-3);
        const at::Tensor sum = exact(x) + exact(update) * exact(m[0]), plain = exact(x) + exact(update);

        const EmulatedKernels emulated(order);
        expect_rounded_once(adaptive_norm(x, m[2], m[1], 1e-3), want);
        const NormedSum gated = add_adaptive_norm(x, update, m[0], m[2], m[1], 1e-3);
        expect_rounded_once(gated.sum, sum);
        expect_rounded_once(gated.normed, adaptive_norm_composite(exact(gated.sum), exact(m[2]), exact(m[1]), 1e-3));
        const NormedSum affine = add_layer_norm(x, update, {}, weight, bias, 1e-3);
        expect_rounded_once(affine.sum, plain);
        expect_rounded_once(affine.normed,
                            at::layer_norm(exact(affine.sum), {width}, exact(weight), exact(bias), 1e-3));
      }
}

TEST(DeviceAdaptiveNorm, WantsNoGradient) {
  const EmulatedKernels emulated;
  at::Tensor x = noise({1, 2, 8}, 1);
  EXPECT_NE(device_kernels(x), nullptr);
  EXPECT_EQ(device_kernels(x.to(at::kDouble)), nullptr);
  EXPECT_EQ(device_kernels(at::empty({0})), nullptr);
  x.requires_grad_();
  EXPECT_EQ(device_kernels(x), nullptr);
  const NormedSum out =
      add_adaptive_norm(x, noise({1, 2, 8}, 2), noise({1, 1, 8}, 3), noise({1, 1, 8}, 4), noise({1, 1, 8}, 5), 1e-3);
  out.normed.sum().backward();
  EXPECT_TRUE(x.grad().defined());
}

}  // namespace
}  // namespace tessera
