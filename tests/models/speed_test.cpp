// Ratios of processor time, what a kernel of ours replaces to that kernel, on one thread and in turn. The bounds lie
// far below what `make bench` measures: a lost kernel shows, a busy machine does not.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <ctime>

#include "kernels/block_attention.h"
#include "kernels/frame_conv.h"
#include "kernels/instruction_set.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/tiled_attention.h"
#include "models/attention/blocks.h"
#include "models/attention/mhla.h"
#include "models/attention/mixing.h"

namespace tessera {
namespace {

constexpr int64_t kHeads = 4, kHeadDim = 128, kChannels = kHeads * kHeadDim;

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

class Speed : public testing::Test {
 protected:
  void SetUp() override {
    if (instruction_set() < InstructionSet::kAvx512Bf16) GTEST_SKIP() << "this machine has no AVX512-BF16";
    if (has_tile_registers()) GTEST_SKIP() << "this machine has AMX, which LibTorch's products use";
    at::set_num_threads(1);
  }
  void TearDown() override { at::set_num_threads(threads_); }

  /// Least time of `theirs` over least time of `ours` in five rounds after one that is not counted.
  template <class Theirs, class Ours>
  static double ratio(const Theirs& theirs, const Ours& ours) {
    const auto time = [](const auto& run) {
      const double begin = thread_seconds();
      run();
      return thread_seconds() - begin;
    };
    double least_theirs = 1e9, least_ours = 1e9;
    for (int round = 0; round < 6; ++round) {
      const double a = time(theirs), b = time(ours);
      if (round == 0) continue;
      least_theirs = std::min(least_theirs, a);
      least_ours = std::min(least_ours, b);
    }
    return least_theirs / least_ours;
  }

  static at::Tensor tokens(int64_t count) { return at::randn({1, count, kChannels}).to(at::kBFloat16); }

 private:
  const at::NoGradGuard inference_;
  int threads_ = at::get_num_threads();
};

TEST_F(Speed, SoftmaxAttention) {
  const at::Tensor q = tokens(1024), k = tokens(1024), v = tokens(1024);
  const auto split = [](const at::Tensor& x) { return x.unflatten(-1, {kHeads, -1}).transpose(1, 2); };
  EXPECT_GT(ratio([&] { at::scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2); },
                  [&] { tiled_attention(q, k, v, kHeads); }),
            1.1);
}

TEST_F(Speed, Mhla) {
  AttentionConfig config;
  config.block_layout = {3, 2, 5};
  const BlockGrid cut = cut_into_blocks(config, {6, 20, 30});
  const at::Tensor q = tokens(3600), k = tokens(3600), v = tokens(3600);
  const at::Tensor mixing =
      mixing_for_blocks(initial_mixing(config.block_layout, config.transform), config.block_layout, cut.blocks);
  RmsNorm norm, head_norm;
  norm.weight = at::ones({kChannels});
  head_norm.weight = at::ones({kHeadDim});
  const Rope rope = make_rope(cut.grid, kHeadDim, at::kCPU);
  const auto composed = [&] {
    const BlockFeatures qs = block_features_composite(q, norm, rope, kHeads, cut, /*with_unrotated=*/true);
    const BlockFeatures ks = block_features_composite(k, norm, rope, kHeads, cut, /*with_unrotated=*/true);
    const at::Tensor summaries = at::matmul(ks.rotated.mT(), group_blocks(v, kHeads, cut));
    const at::Tensor n = mhla_normalizer(qs.unrotated, ks.unrotated, mixing, cut, Normalizer::kSums);
    const at::Tensor out = at::matmul(qs.rotated, mix_blocks(mixing, summaries)) / guard_normalizer(n);
    ungroup_normed_composite(out, head_norm, cut, v.scalar_type());
  };
  const auto fused = [&] {
    block_attention(q, k, v,
                    {.heads = kHeads,
                     .tokens = tokens_of_blocks(cut),
                     .mixing = mixing,
                     .q_norm = norm.weight,
                     .k_norm = norm.weight,
                     .norm_eps = norm.eps,
                     .rotation = at::view_as_real(rope.table).view({-1, kHeadDim}),
                     .normalizer = BlockNormalizer::kSums,
                     .normalizer_eps = 1e-6,
                     .least_normalizer = kLeastNormalizer,
                     .head_norm = head_norm.weight,
                     .head_eps = head_norm.eps});
  };
  EXPECT_GT(ratio(composed, fused), 2);
}

TEST_F(Speed, CausalConvolution) {
  const at::Tensor x = at::randn({1, 6, 48, 48, 96}).to(at::kBFloat16), bias = at::randn({96}).to(at::kBFloat16);
  const at::Tensor weight = at::randn({96, 96, 3, 3, 3}).to(at::kBFloat16) / 50;
  const FrameFilters filters = pack_frame_filters(weight);
  const FrameConv conv{.parts = {x}, .bias = bias};
  EXPECT_GT(ratio(
                [&] {
                  at::conv3d(x.permute({0, 4, 1, 2, 3}), weight, bias, {1, 1, 1}, at::IntArrayRef{0, 1, 1});
                },
                [&] { frame_conv(conv, filters); }),
            1.4);
}

TEST_F(Speed, Int8Product) {
  const at::Tensor x = at::randn({512, 1536}).to(at::kBFloat16), weight = at::randn({1536, 1536}).to(at::kBFloat16);
  const at::Tensor packed = int8_tensor(weight, at::kBFloat16), none;
  EXPECT_GT(
      ratio([&] { at::linear(x, weight); }, [&] { int8_linear(x, *packed_weight(packed), none, Activation::kNone); }),
      1.3);
}

}  // namespace
}  // namespace tessera
