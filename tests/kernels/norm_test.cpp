#include "kernels/norm.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>

#include "tests/support/gradients.h"
#include "tests/support/instruction_sets.h"

namespace tessera {
namespace {

using test::expect_all_close;
using test::noise;
using test::tolerance_of;
using test::with_gradients;

TEST(RmsNorm, ByHand) {
  // Mean square of (1, 7) is 25, so the row is (0.2, 1.4) before its weight.
  const at::Tensor x = at::tensor({1.0F, 7.0F, -3.0F, 0.0F}).view({2, 2}), weight = at::tensor({10.0F, 1.0F});
  const at::Tensor y = rms_norm(x, weight, 0.0, at::kFloat);
  EXPECT_CLOSE(y, at::tensor({2.0F, 1.4F, -10.0F * std::sqrt(2.0F), 0.0F}).view({2, 2}), 1e-6);
  // eps is added to the mean square: 4 + 5 = 9.
  EXPECT_CLOSE(rms_norm(at::full({1, 1}, 2.0F), at::ones({1}), 5.0, at::kFloat), at::full({1, 1}, 2.0F / 3), 1e-6);
}

TEST(RmsNorm, EveryVariantEqualsComposite) {
  test::for_each_instruction_set([] {
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const auto to : {at::kFloat, at::kBFloat16})
        for (const int64_t width : {1, 6, 16, 17, 40, 192}) {
          SCOPED_TRACE(testing::Message() << dtype << " to " << to << ", " << width << " wide");
          const at::Tensor x = noise({3, 70, width}, 1).to(dtype), weight = 1 + 0.3 * noise({width}, 2);
          const auto fused = [&](const at::Tensor& a, const at::Tensor& w) { return rms_norm(a, w, 1e-3, to); };
          const auto plain = [&](const at::Tensor& a, const at::Tensor& w) {
            return rms_norm_composite(a, w, 1e-3, to);
          };
          const double tolerance = std::max(tolerance_of(dtype), tolerance_of(to));
          expect_all_close(with_gradients(fused, x, weight), with_gradients(plain, x, weight), tolerance);
          const at::NoGradGuard inference;
          EXPECT_CLOSE(fused(x, weight), plain(x, weight), tolerance);
        }
  });
}

TEST(RmsNorm, TakesAnyStrides) {
  const at::Tensor x = noise({4, 6, 5}, 1).transpose(1, 2), weight = noise({6}, 2);
  EXPECT_CLOSE(rms_norm(x, weight, 1e-6, at::kFloat), rms_norm_composite(x, weight, 1e-6, at::kFloat), 1e-6);
}

/// Norm, then the pairs of each head turned by the angles of their token, in place.
TEST(RmsNorm, TurnsPairs) {
  constexpr int64_t kTokens = 5, kNormHeads = 3, kDim = 20, kWidth = kNormHeads * kDim;
  const at::Tensor angles = noise({kTokens, kDim / 2}, 3), cosines = angles.cos(), sines = angles.sin();
  const at::Tensor places = at::arange(kTokens, at::kLong) * kWidth;
  const NormLayout layout{.rows = 2 * kTokens,
                          .tokens = kTokens,
                          .heads = kNormHeads,
                          .head_dim = kDim,
                          .x_sample = kTokens * kWidth,
                          .x_head = kDim,
                          .y_sample = kTokens * kWidth,
                          .y_head = kDim,
                          .x_token = places,
                          .y_token = places,
                          .cosines = cosines.repeat_interleave(2, 1),
                          .sines = at::stack({-sines, sines}, -1).flatten(1),
                          .features = false,
                          .y_shape = {2, kTokens, kWidth}};
  const at::Tensor x = noise({2, kTokens, kWidth}, 1), weight = 1 + 0.3 * noise({kWidth}, 2);
  const auto fused = [&](const at::Tensor& a, const at::Tensor& w) {
    return norm_and_move(a, w, 1e-3, layout, at::kFloat, /*with_unrotated=*/false).first;
  };
  const auto plain = [&](const at::Tensor& a, const at::Tensor& w) {
    const at::Tensor pairs = rms_norm_composite(a, w, 1e-3, at::kFloat).view({2, kTokens, kNormHeads, kDim / 2, 2});
    const at::Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
    const at::Tensor c = cosines.unsqueeze(1), s = sines.unsqueeze(1);  // [N, 1, D / 2]
    return at::stack({even * c - odd * s, even * s + odd * c}, -1).view(a.sizes());
  };
  test::for_each_instruction_set([&] {
    expect_all_close(with_gradients(fused, x, weight), with_gradients(plain, x, weight), tolerance_of(at::kFloat));
  });
}

TEST(ChannelNorm, ByHand) {
  // (3, 4) has length 5; sqrt(2) / 5 * (2 * 3, 0.5 * 4).
  const at::Tensor x = at::tensor({3.0F, 4.0F}).view({1, 2}), weight = at::tensor({2.0F, 0.5F});
  EXPECT_CLOSE(channel_norm(x, weight, false), at::tensor({1.6970563F, 0.5656854F}).view({1, 2}), 1e-6);
  EXPECT_CLOSE(channel_norm(x, weight, true), at::tensor({1.4342669F, 0.3607755F}).view({1, 2}), 1e-6);
  EXPECT_TRUE(channel_norm(at::zeros_like(x), weight, true).eq(0).all().item<bool>());
}

TEST(ChannelNorm, EveryVariantEqualsComposite) {
  test::for_each_instruction_set([] {
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t channels : {2, 4, 16, 19, 96})
        for (const bool silu : {false, true}) {
          SCOPED_TRACE(testing::Message() << dtype << ", " << channels << " channels, silu " << silu);
          const at::Tensor x = (noise({2, 3, 5, 7, channels}, 1) * 3).to(dtype), weight = noise({channels}, 4) + 1;
          const auto fused = [&](const at::Tensor& a, const at::Tensor& w) { return channel_norm(a, w, silu); };
          const auto plain = [&](const at::Tensor& a, const at::Tensor& w) {
            return channel_norm_composite(a, w, silu);
          };
          const double tolerance = dtype == at::kFloat ? 1e-5 : 1e-2;
          expect_all_close(with_gradients(fused, x, weight), with_gradients(plain, x, weight), tolerance);
          const at::NoGradGuard inference;
          EXPECT_CLOSE(fused(x, weight), plain(x, weight), tolerance);
        }
  });
}

/// x is so large that many tasks add to the weight's gradient, and that ATen would add up the tasks in parallel.
template <typename Norm>
void expect_same_gradients_at_any_number_of_threads(const Norm& norm) {
  const at::Tensor x = noise({20000, 256}, 1), weight = noise({256}, 2);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<at::Tensor> wanted = with_gradients(norm, x, weight);
  for (const int count : {2, 3, 4, 7})
    for (int repeat = 0; repeat < 3; ++repeat) {
      at::set_num_threads(count);
      const std::vector<at::Tensor> found = with_gradients(norm, x, weight);
      for (size_t i = 0; i < wanted.size(); ++i)
        EXPECT_TRUE(at::equal(found[i], wanted[i])) << "result " << i << ", " << count << " threads";
    }
  at::set_num_threads(threads);
}

TEST(RmsNorm, GradientDoesNotDependOnTheThreads) {
  expect_same_gradients_at_any_number_of_threads(
      [](const at::Tensor& x, const at::Tensor& weight) { return rms_norm(x, weight, 1e-6, at::kFloat); });
}

TEST(ChannelNorm, GradientDoesNotDependOnTheThreads) {
  expect_same_gradients_at_any_number_of_threads(
      [](const at::Tensor& x, const at::Tensor& weight) { return channel_norm(x, weight, true); });
}

TEST(Norms, KeepNanVisible) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::tensor({1.0F, nan, 2.0F}).view({1, 3}).to(dtype);
    EXPECT_TRUE(rms_norm(x, at::ones({3}), 1e-6, dtype).isnan().all().item<bool>());
    EXPECT_TRUE(channel_norm(x, at::ones({3}), true).isnan().all().item<bool>());
  }
}

}  // namespace
}  // namespace tessera
