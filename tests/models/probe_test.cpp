// The matrix that a probe sees is the attention that the layer computes.
#include "models/attention/probe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/attention/lepe.h"
#include "models/attention/mhla.h"
#include "models/attention/softmax.h"
#include "tests/support/fixture.h"
#include "tests/support/gradients.h"

namespace tessera {
namespace {

using test::noise;

/// weights [B, H, N, N] over the heads of v [B, N, H * D]: [B, N, H * D].
at::Tensor apply(const AttentionView& view, const at::Tensor& v, int64_t heads) {
  return at::matmul(view.weights, v.unflatten(-1, {heads, -1}).transpose(1, 2)).transpose(1, 2).flatten(2);
}

TEST(AttentionView, SoftmaxIsWhatTheLayerComputes) {
  const at::Tensor q = noise({2, 12, 8}, 1), k = noise({2, 12, 8}, 2), v = noise({2, 12, 8}, 3);
  const AttentionView view = softmax_view(q, k, 2, {1, 3, 4});
  EXPECT_CLOSE(apply(view, v, 2), softmax_attention(q, k, v, 2), 1e-6);
  EXPECT_CLOSE(view.weights.sum(-1), at::ones({2, 2, 12}), 1e-6);
  EXPECT_FALSE(view.normalizer.defined());
}

TEST(AttentionView, LinearIsWhatTheLayerComputes) {
  const Extent3 grid{2, 2, 3};
  const at::Tensor q = noise({2, 12, 8}, 1).abs(), k = noise({2, 12, 8}, 2).abs(), v = noise({2, 12, 8}, 3);
  const Rope rope = make_rope(grid, 4, at::kCPU);
  const AttentionView turned = linear_view(q, k, 2, &rope, grid), plain = linear_view(q, k, 2, nullptr, grid);
  EXPECT_CLOSE(apply(turned, v, 2), linear_attention(q, k, v, 2, &rope), 1e-5);
  EXPECT_CLOSE(apply(plain, v, 2), linear_attention(q, k, v, 2), 1e-5);
  // The first token's normalizer in the first head, by hand.
  const at::Tensor by_hand = (q[0][0].narrow(0, 0, 4) * k[0].narrow(1, 0, 4).mean(0)).sum();
  EXPECT_NEAR(plain.normalizer[0][0][0].item<double>(), by_hand.item<double>(), 1e-6);
}

TEST(AttentionView, MhlaIsWhatTheLayerComputesOnRaggedBlocksToo) {
  for (const Extent3& grid : {Extent3{2, 4, 4}, Extent3{3, 3, 5}}) {
    AttentionConfig config;
    config.kind = AttentionKind::kMhla;
    config.block_tokens = Extent3{2, 2, 2};
    const BlockGrid cut = cut_into_blocks(config, grid);
    const int64_t N = volume(grid), M = volume(cut.blocks);
    const at::Tensor mixing = noise({M, M}, 4).abs(), v = noise({2, N, 8}, 3);
    const at::Tensor q = group_blocks(noise({2, N, 8}, 1).abs(), 2, cut),
                     k = group_blocks(noise({2, N, 8}, 2).abs(), 2, cut);
    const at::Tensor normalizer = mhla_normalizer(q, k, mixing, cut, Normalizer::kSums);
    const at::Tensor summaries = at::matmul(k.mT(), group_blocks(v, 2, cut));
    const at::Tensor out = at::matmul(q, mix_blocks(mixing, summaries));  // [M, B, H, P, D]
    const AttentionView view = mhla_view(q, k, mixing, normalizer, cut);
    EXPECT_CLOSE(apply(view, v, 2), ungroup_blocks(out / normalizer, cut), 1e-5);
    EXPECT_CLOSE(apply(mhla_view(q, k, mixing, {}, cut), v, 2), ungroup_blocks(out, cut), 1e-4);
    EXPECT_TRUE(at::equal(view.mixing, mixing));
  }
}

TEST(AttentionView, ConvolutionsAreMatrices) {
  const Extent3 grid{2, 3, 4};
  const at::Tensor v = noise({1, 24, 5}, 1), bias = at::zeros({5});
  const at::Tensor flat = noise({1, 1, 3, 3}, 2), deep = noise({1, 1, 3, 3, 3}, 3);
  EXPECT_CLOSE(at::matmul(convolution_matrix(flat, grid), v), depthwise_2d(v, grid, flat.repeat({5, 1, 1, 1}), bias),
               1e-5);
  EXPECT_CLOSE(at::matmul(convolution_matrix(deep, grid), v), depthwise_3d(v, grid, deep.repeat({5, 1, 1, 1, 1}), bias),
               1e-5);
}

}  // namespace
}  // namespace tessera
