#include "claims/flops.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Flops, ProductsByHand) {
  const at::Tensor a = at::ones({2, 3}), b = at::ones({3, 4});
  EXPECT_EQ(count_flops([&] { a.mm(b); }), 2.0 * 2 * 3 * 4);
  EXPECT_EQ(count_flops([&] { at::matmul(at::ones({5, 2, 3}), at::ones({5, 3, 4})); }), 5 * 2.0 * 2 * 3 * 4);
  EXPECT_EQ(count_flops([&] {
              at::linear(at::ones({6, 2, 3}), at::ones({4, 3}), at::ones({4}));
            }),
            6 * 2.0 * 2 * 3 * 4);
  EXPECT_EQ(count_flops([&] { a + a; }), 0.0);
}

TEST(Flops, ConvolutionsByHand) {
  const at::Tensor x = at::ones({1, 2, 4, 4});
  // 3 x 4 x 4 outputs of 2 x 3 x 3 products; depthwise: 2 x 4 x 4 outputs of 3 x 3.
  EXPECT_EQ(count_flops([&] { at::conv2d(x, at::ones({3, 2, 3, 3}), {}, 1, 1); }), 48 * 2.0 * 18);
  EXPECT_EQ(count_flops([&] { at::conv2d(x, at::ones({2, 1, 3, 3}), {}, 1, 1, 1, 2); }), 32 * 2.0 * 9);
}

TEST(Flops, FusedAttentionByHand) {
  const at::Tensor q = at::ones({1, 2, 4, 8});  // two heads of 4 x 4 scores, each twice 8 products
  EXPECT_EQ(count_flops([&] { at::scaled_dot_product_attention(q, q, q); }), 2 * 2 * 2.0 * 4 * 4 * 8);
}

TEST(Flops, BackwardIsTwiceTheForward) {
  at::Tensor weight = at::ones({4, 3}).requires_grad_(), x = at::ones({2, 3}).requires_grad_();
  const double forward = 2.0 * 2 * 3 * 4;
  EXPECT_EQ(count_flops([&] { at::linear(x, weight).sum().backward(); }), 3 * forward);
  at::Tensor filter = at::ones({3, 2, 3, 3}).requires_grad_();
  const at::Tensor image = at::ones({1, 2, 4, 4});  // wants no gradient: that of the filter alone is computed
  EXPECT_EQ(count_flops([&] { at::conv2d(image, filter, {}, 1, 1).sum().backward(); }), 2 * 48 * 2.0 * 18);
}

TEST(Flops, AnErrorStopsTheCounting) {
  EXPECT_THROW(count_flops([] { at::ones({2, 3}).mm(at::ones({2, 3})); }), c10::Error);
  EXPECT_EQ(count_flops([] {}), 0.0);
}

}  // namespace
}  // namespace tessera
