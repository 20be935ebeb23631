#include "kernels/frame_conv.h"

#include <ATen/Parallel.h>

#include "kernels/direct_conv.h"
#include "kernels/instruction_set.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

struct FrameCase {
  int64_t batch, frames, height, width, in, out;
  int64_t taps = 3, kernel = 3, zeros = 0, stride = 1;
  bool enlarge = false, residual = false;
};

/// Numbers that bfloat16 holds exactly.
at::Tensor rounded(const at::Tensor& x) {
  return x.to(at::kBFloat16).to(at::kFloat);
}

struct FrameRun {
  at::Tensor x, weight, bias, residual;  // float32

  explicit FrameRun(const FrameCase& c)
      : x(rounded(at::silu(at::randn({c.batch, c.frames, c.height, c.width, c.in})))),
        weight(at::randn({c.out, c.in, c.taps, c.kernel, c.kernel}) /
               std::sqrt(static_cast<double>(c.in * c.taps * c.kernel * c.kernel))),
        bias(at::randn({c.out})) {
    if (c.residual) residual = rounded(at::randn_like(wanted(c)));
  }

  /// By ATen in float64.
  at::Tensor wanted(const FrameCase& c, at::ScalarType weight_type = at::kFloat) const {
    at::Tensor frames = at::constant_pad_nd(x.to(at::kDouble), {0, 0, 0, 0, 0, 0, c.zeros, 0});
    if (c.enlarge) frames = frames.repeat_interleave(2, 2).repeat_interleave(2, 3);
    const at::Tensor y =
        at::conv3d(frames.permute({0, 4, 1, 2, 3}), weight.to(weight_type).to(at::kDouble), bias.to(at::kDouble),
                   {c.stride, 1, 1}, at::IntArrayRef{0, c.kernel / 2, c.kernel / 2})
            .permute({0, 2, 3, 4, 1});
    return residual.defined() ? y + residual : y;
  }

  at::Tensor got(const FrameCase& c) const {
    const at::Tensor plain = c.taps == 1 ? weight.select(2, 0) : weight;
    return frame_conv({.parts = {x.to(at::kBFloat16)},
                       .zeros = c.zeros,
                       .stride = c.stride,
                       .enlarge = c.enlarge,
                       .bias = bias,
                       .residual = residual.defined() ? residual.to(at::kBFloat16) : residual},
                      pack_frame_filters(plain));
  }
};

double mean_error(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
}

bool missing() {
  return !has_direct_conv(DirectType::kBfloat16);
}

const std::vector<FrameCase> kCases{
    {1, 3, 8, 6, 16, 32},
    {2, 5, 9, 7, 32, 48, 3, 3, 0, 1, false, true},
    {1, 4, 5, 11, 48, 96, 3, 3, 2},
    {1, 1, 4, 2, 16, 64, 3, 3, 2},
    {2, 9, 3, 3, 16, 16, 3, 3, 1},
    {1, 3, 6, 5, 20, 3},
    {2, 2, 5, 3, 32, 80, 1, 3, 0, 1, true, true},
    {1, 2, 1, 1, 16, 32, 1, 3},
    {1, 7, 5, 4, 32, 64, 3, 1, 0, 2},
    {2, 4, 3, 5, 64, 128, 3, 1, 2},
    {1, 1, 40, 34, 16, 32, 1, 3},
    {1, 3, 5, 7, 384, 32},  // from here on F(2, 3) on both axes
    {2, 2, 3, 6, 32, 384, 1, 3, 0, 1, true, true},
};

// The tolerances are those of winograd_conv: see the errors below.
TEST(FrameConv, EqualsConvolutionAtEverySize) {
  if (missing()) GTEST_SKIP() << "needs AVX512-BF16";
  at::manual_seed(3);
  for (const FrameCase& c : kCases) {
    SCOPED_TRACE(c10::str(c.batch, " x ", c.frames, " x ", c.height, "x", c.width, ", ", c.in, " to ", c.out));
    const FrameRun run(c);
    const at::Tensor wanted = run.wanted(c), got = run.got(c);
    EXPECT_EQ(got.scalar_type(), at::kBFloat16);
    EXPECT_CLOSE(got, wanted, 1.6e-2);
    EXPECT_LT(mean_error(got, wanted), c.kernel == 3 ? 8e-3 : 3e-3);
  }
}

/// The error relative to that of rounding nothing but weights and outputs: of independent inputs, and of a picture
/// whose every pixel is the mean of 5x5 independent ones.
std::pair<double, double> error_ratios(const FrameCase& c) {
  FrameRun run(c);
  run.bias.zero_();  // it would only add to the outputs
  const auto ratio = [&] {
    const at::Tensor wanted = run.wanted(c);
    const double plain = mean_error(run.wanted(c, at::kBFloat16).to(at::kBFloat16), wanted);
    return mean_error(run.got(c), wanted) / plain;
  };
  const double independent = ratio();
  const at::Tensor smooth =
      at::avg_pool2d(run.x.flatten(0, 1).permute({0, 3, 1, 2}), 5, 1, 2, false, false).permute({0, 2, 3, 1});
  run.x = rounded(smooth.contiguous().view(run.x.sizes()));
  return {independent, ratio()};
}

TEST(FrameConv, ErrorBesideThatOfPlainBfloat16) {
  if (missing()) GTEST_SKIP() << "needs AVX512-BF16";
  at::manual_seed(4);
  const auto [coarse, coarse_smooth] = error_ratios({1, 3, 32, 32, 96, 96});
  EXPECT_LT(coarse, 3.0);  // F(4, 3) x F(2, 3)
  EXPECT_LT(coarse_smooth, 1.6);
  const auto [fine, fine_smooth] = error_ratios({1, 3, 12, 12, 384, 64});
  EXPECT_LT(fine, 2.0);  // F(2, 3) x F(2, 3)
  EXPECT_LT(fine_smooth, 1.5);
  RecordProperty("ratios", c10::str(coarse, " ", coarse_smooth, " ", fine, " ", fine_smooth));
}

TEST(FrameConv, DependsOnNeitherThreadsNorBatchNorParts) {
  if (missing()) GTEST_SKIP() << "needs AVX512-BF16";
  at::manual_seed(5);
  const FrameCase c{3, 6, 21, 13, 32, 96};
  const FrameRun run(c);
  const at::Tensor x = run.x.to(at::kBFloat16);
  const FrameFilters filters = pack_frame_filters(run.weight);
  const auto of = [&](const FrameParts& parts, int64_t zeros = 0) {
    return frame_conv({.parts = parts, .zeros = zeros, .bias = run.bias}, filters);
  };
  const at::Tensor whole = of({x});
  const int threads = at::get_num_threads();
  for (const int count : {1, 2, 5}) {
    at::set_num_threads(count);
    EXPECT_TRUE(at::equal(of({x}), whole)) << count << " threads";
    EXPECT_TRUE(at::equal(of({x.narrow(0, 1, 1)}), whole.narrow(0, 1, 1))) << count << " threads";
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(of({x.narrow(1, 0, 2), x.narrow(1, 2, 1), x.narrow(1, 3, 3)}), whole));
  EXPECT_TRUE(at::equal(of({x.narrow(1, 1, 4)}), whole.narrow(1, 1, 2)));
  // Zeros in front, which a single output skips and several transform, are frames of zeros.
  const at::Tensor zeros = at::zeros_like(x.narrow(1, 0, 2)), start = x.narrow(1, 0, 4);
  EXPECT_TRUE(at::equal(of({start}, 2), of({zeros, start})));
  EXPECT_TRUE(at::equal(of({x.narrow(1, 0, 1)}, 2), of({start}, 2).narrow(1, 0, 1)));
}

TEST(FrameConv, SaysWhatItTakes) {
  const at::Tensor x = at::zeros({1, 1, 4, 4, 16}, at::kBFloat16), weight = at::zeros({32, 16, 3, 3, 3});
  EXPECT_EQ(has_frame_conv(x, weight), !missing());
  EXPECT_FALSE(has_frame_conv(x.to(at::kFloat), weight));
  EXPECT_FALSE(has_frame_conv(x, at::zeros({32, 16, 5, 5})));
  at::Tensor trained = at::zeros({32, 16, 3, 3, 3});
  trained.requires_grad_();
  EXPECT_FALSE(has_frame_conv(x, trained));
  {
    const LimitInstructions limit(InstructionSet::kAvx512);
    EXPECT_FALSE(has_frame_conv(x, weight));
    EXPECT_THROW(frame_conv({.parts = {x}, .zeros = 2, .bias = at::zeros({32})}, pack_frame_filters(weight)),
                 c10::Error);
  }
  EXPECT_THROW(pack_frame_filters(at::zeros({32, 16, 3, 1})), c10::Error);
  if (missing()) GTEST_SKIP() << "the rest needs AVX512-BF16";
  const FrameFilters filters = pack_frame_filters(weight);
  EXPECT_THROW(frame_conv({.parts = {x}, .zeros = 1, .bias = at::zeros({32})}, filters), c10::Error);
  EXPECT_THROW(frame_conv({.parts = {x, x.narrow(2, 0, 3)}, .zeros = 2, .bias = at::zeros({32})}, filters), c10::Error);
  EXPECT_THROW(frame_conv({.parts = {x.narrow(4, 0, 8)}, .zeros = 2, .bias = at::zeros({32})}, filters), c10::Error);
}

TEST(FrameFilterCacheTest, PacksAgainOnlyWhenTheWeightHasChanged) {
  const FrameFilterCache cache;
  at::Tensor weight = at::ones({16, 16, 1, 1});
  const auto first = cache.of(weight);
  EXPECT_EQ(cache.of(weight), first);
  EXPECT_EQ(cache.of(at::Tensor(weight)), first);
  weight.mul_(2);
  const auto second = cache.of(weight);
  EXPECT_TRUE(second->packed.eq(2).all().item<bool>());
  EXPECT_TRUE(first->packed.eq(1).all().item<bool>());
  weight = at::ones({16, 16, 1, 1}) * 3;
  EXPECT_TRUE(cache.of(weight)->packed.eq(3).all().item<bool>());
  const FrameFilterCache copy(cache);
  EXPECT_NE(copy.of(weight), cache.of(weight));
}

}  // namespace
}  // namespace tessera
