#include "kernels/fused.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>

#include "models/attention/blocks.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

at::Tensor noise(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat);
}

/// Output, then the gradients of x and weight, of a function of both.
template <typename Function>
std::vector<at::Tensor> with_gradients(const Function& function, const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor input = x.detach().clone().requires_grad_(), gain = weight.detach().clone().requires_grad_();
  const at::Tensor y = function(input, gain);
  (y.to(at::kFloat) * noise(y.sizes(), 99)).sum().backward();
  return {y.detach(), input.grad(), gain.grad()};
}

void expect_all_close(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected,
                      double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "result " << i);
    EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    EXPECT_CLOSE(actual[i], expected[i], tolerance);
  }
}

double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? 1e-2 : 2e-6;
}

TEST(RmsNorm, ByHand) {
  // Mean square of (1, 7) is 25, so the row is (0.2, 1.4) before its weight.
  const at::Tensor x = at::tensor({1.0F, 7.0F, -3.0F, 0.0F}).view({2, 2}), weight = at::tensor({10.0F, 1.0F});
  const at::Tensor y = rms_norm(x, weight, 0.0, at::kFloat);
  EXPECT_CLOSE(y, at::tensor({2.0F, 1.4F, -10.0F * std::sqrt(2.0F), 0.0F}).view({2, 2}), 1e-6);
  // eps is added to the mean square: 4 + 5 = 9.
  EXPECT_CLOSE(rms_norm(at::full({1, 1}, 2.0F), at::ones({1}), 5.0, at::kFloat), at::full({1, 1}, 2.0F / 3), 1e-6);
}

TEST(RmsNorm, FusedEqualsComposite) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto to : {at::kFloat, at::kBFloat16}) {
      for (const int64_t width : {1, 6, 16, 17, 40, 192}) {
        SCOPED_TRACE(testing::Message() << dtype << " to " << to << ", " << width << " wide");
        const at::Tensor x = noise({3, 70, width}, 1).to(dtype), weight = 1 + 0.3 * noise({width}, 2);
        const auto fused = [&](const at::Tensor& a, const at::Tensor& w) { return rms_norm(a, w, 1e-3, to); };
        const auto plain = [&](const at::Tensor& a, const at::Tensor& w) { return rms_norm_composite(a, w, 1e-3, to); };
        const double tolerance = std::max(tolerance_of(dtype), tolerance_of(to));
        expect_all_close(with_gradients(fused, x, weight), with_gradients(plain, x, weight), tolerance);
        const at::NoGradGuard inference;
        EXPECT_CLOSE(fused(x, weight), plain(x, weight), tolerance);
      }
    }
  }
}

TEST(RmsNorm, TakesAnyStrides) {
  const at::Tensor x = noise({4, 6, 5}, 1).transpose(1, 2), weight = noise({6}, 2);
  EXPECT_CLOSE(rms_norm(x, weight, 1e-6, at::kFloat), rms_norm_composite(x, weight, 1e-6, at::kFloat), 1e-6);
}

TEST(RmsNorm, GradientDoesNotDependOnTheThreads) {
  const at::Tensor x = noise({5000, 48}, 1), weight = noise({48}, 2);
  const auto run = [&] {
    return with_gradients([](const at::Tensor& a, const at::Tensor& w) { return rms_norm(a, w, 1e-6, at::kFloat); }, x,
                          weight)[2];
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = run();
  at::set_num_threads(3);
  const at::Tensor three = run();
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, three));
}

TEST(Gelu, ByHand) {
  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  const at::Tensor x = at::tensor({0.0F, 1.0F, -1.0F, 3.0F, 100.0F, -100.0F});
  const at::Tensor expected = at::tensor({0.0F, 0.8411920F, -0.1588080F, 2.9963627F, 100.0F, 0.0F});
  EXPECT_LE((gelu_tanh(x) - expected).abs().max().item<float>(), 1e-6F);
}

TEST(Gelu, FusedEqualsComposite) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t count : {1, 15, 16, 33, 40000}) {
      SCOPED_TRACE(testing::Message() << dtype << ", " << count << " values");
      const at::Tensor x = (3 * noise({count}, 1)).to(dtype), unused = at::ones({1});
      const auto fused = [](const at::Tensor& a, const at::Tensor& w) { return gelu_tanh(a) * w; };
      const auto plain = [](const at::Tensor& a, const at::Tensor& w) { return gelu_tanh_composite(a) * w; };
      expect_all_close(with_gradients(fused, x, unused), with_gradients(plain, x, unused), 2 * tolerance_of(dtype));
    }
  }
}

TEST(Fused, KeepNanVisible) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::tensor({1.0F, nan, 2.0F}).view({1, 3}).to(dtype);
    EXPECT_TRUE(gelu_tanh(x).isnan()[0][1].item<bool>());
    EXPECT_TRUE(rms_norm(x, at::ones({3}), 1e-6, dtype).isnan().all().item<bool>());
  }
}

struct BlockCase {
  const char* name;
  Extent3 grid, size;
  int64_t heads, head_dim;
};

const std::vector<BlockCase>& block_cases() {
  static const std::vector<BlockCase> cases{{"whole blocks", {2, 4, 6}, {1, 2, 3}, 3, 20},
                                            {"ragged blocks", {3, 3, 5}, {2, 2, 2}, 2, 6},
                                            {"one block", {1, 2, 2}, {1, 2, 2}, 1, 64}};
  return cases;
}

BlockGrid cut(const BlockCase& c) {
  AttentionConfig config;
  config.block_tokens = c.size;
  return cut_into_blocks(config, c.grid);
}

TEST(BlockFeatures, FusedEqualsComposite) {
  for (const BlockCase& c : block_cases()) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool with_plain : {false, true}) {
        SCOPED_TRACE(testing::Message() << c.name << ", " << dtype << ", " << with_plain);
        const int64_t channels = c.heads * c.head_dim;
        const at::Tensor x = noise({2, volume(c.grid), channels}, 1).to(dtype), weight = noise({channels}, 2);
        const Rope rope = make_rope(c.grid, c.head_dim, at::kCPU);
        const auto run = [&](auto features) {
          return [&, features](const at::Tensor& a, const at::Tensor& w) {
            const BlockFeatures out = features(a, RmsNorm{w, 1e-6}, rope, c.heads, cut(c), with_plain);
            EXPECT_EQ(out.rotated.scalar_type(), dtype);
            EXPECT_EQ(out.plain.defined(), with_plain);
            return with_plain ? at::cat({out.rotated.to(at::kFloat), 2 * out.plain}) : out.rotated;
          };
        };
        expect_all_close(with_gradients(run(block_features), x, weight),
                         with_gradients(run(block_features_composite), x, weight), 2 * tolerance_of(dtype));
      }
    }
  }
}

TEST(UngroupNormed, FusedEqualsComposite) {
  for (const BlockCase& c : block_cases()) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(testing::Message() << c.name << ", " << dtype);
      const BlockGrid blocks = cut(c);
      const at::Tensor x = noise({volume(blocks.blocks), 2, c.heads, volume(blocks.size), c.head_dim}, 1).to(dtype);
      const at::Tensor weight = noise({c.head_dim}, 2);
      const auto run = [&](auto ungroup) {
        return [&, ungroup](const at::Tensor& a, const at::Tensor& w) {
          return ungroup(a, RmsNorm{w, 1e-6}, blocks, dtype);
        };
      };
      expect_all_close(with_gradients(run(ungroup_normed), x, weight),
                       with_gradients(run(ungroup_normed_composite), x, weight), 2 * tolerance_of(dtype));
    }
  }
}

/// Raster order over 1 x 2 x 4 tokens in blocks of 1 x 2 x 2: the first block holds tokens 0, 1, 4, 5.
TEST(GroupBlocks, ByHand) {
  AttentionConfig config;
  config.block_tokens = Extent3{1, 2, 2};
  const at::Tensor x = at::arange(8, at::kFloat).view({1, 8, 1});
  const at::Tensor grouped = group_blocks(x, 1, cut_into_blocks(config, {1, 2, 4}));
  EXPECT_TRUE(at::equal(grouped.flatten(), at::tensor({0, 1, 4, 5, 2, 3, 6, 7}, at::kFloat)));
  // One row of three: the second block keeps one token, and zeros for the other three.
  const at::Tensor ragged = group_blocks(x.narrow(1, 1, 3), 1, cut_into_blocks(config, {1, 1, 3}));
  EXPECT_TRUE(at::equal(ragged.flatten(), at::tensor({1, 2, 0, 0, 3, 0, 0, 0}, at::kFloat)));
}

}  // namespace
}  // namespace tessera
