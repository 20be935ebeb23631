#include "kernels/block_attention.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>

#include "kernels/instruction_set.h"
#include "tests/support/attention_products.h"
#include "tests/support/gradients.h"

namespace tessera {
namespace {

using test::noise;

struct Case {
  const char* name;
  int64_t batch, heads, head_dim;
  std::vector<std::vector<int32_t>> blocks;  ///< tokens of each block, -1 where there is none
};

/// `count` blocks that share `tokens` tokens, token t in block t % count, filled up to equal lengths.
std::vector<std::vector<int32_t>> dealt(int32_t tokens, size_t count) {
  std::vector<std::vector<int32_t>> blocks(count);
  for (int32_t t = 0; t < tokens; ++t) blocks[static_cast<size_t>(t) % count].push_back(t);
  for (auto& block : blocks) block.resize(blocks[0].size(), -1);
  return blocks;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all{{"by hand", 1, 1, 2, {{0, 1}, {2, -1}}},
                                     {"gaps first", 2, 2, 6, {{-1, 3, 1}, {0, -1, 2}}},
                                     {"7 blocks of 18, the last ones ragged", 2, 3, 64, dealt(124, 7)},
                                     {"13 blocks, heads of 72", 1, 2, 72, dealt(130, 13)},
                                     {"3 long blocks, heads of 72", 1, 2, 72, dealt(131, 3)},
                                     {"one block of one token", 1, 1, 16, {{0}}},
                                     // In tiles the cases above are multiplied token by token, as the last one with
                                     // more keys than are at once; the others by summaries.
                                     {"35 blocks, more than a step of mixing", 1, 2, 32, dealt(700, 35)},
                                     {"blocks longer than a chunk", 1, 1, 128, dealt(521, 2)},
                                     {"3 blocks longer than a chunk, heads of 72", 1, 1, 72, dealt(700, 3)},
                                     {"more places than a strip", 1, 1, 32, dealt(300, 4)},
                                     {"more keys than at once", 1, 1, 128, dealt(300, 9)}};
  return all;
}

at::Tensor tokens_of(const Case& c) {
  std::vector<at::Tensor> rows;
  for (const auto& block : c.blocks) rows.push_back(at::tensor(block, at::kInt));
  return at::stack(rows);
}

struct Inputs {
  at::Tensor q, k, v;
  BlockAttention plan;
};

Inputs inputs(const Case& c, BlockNormalizer normalizer) {
  const at::Tensor tokens = tokens_of(c);
  const int64_t N = tokens.max().item<int64_t>() + 1, M = tokens.size(0), D = c.head_dim, C = c.heads * D;
  const auto bfloat16 = [&](uint64_t seed) { return noise({c.batch, N, C}, seed).to(at::kBFloat16); };
  const at::Tensor angles = 3 * noise({N, D / 2}, 5);
  return {bfloat16(1),
          bfloat16(2),
          bfloat16(3),
          {.heads = c.heads,
           .tokens = tokens,
           .mixing = noise({M, M}, 4).abs() / static_cast<double>(M),
           .q_norm = 1 + 0.3 * noise({C}, 6),
           .k_norm = 1 + 0.3 * noise({C}, 7),
           .norm_eps = 1e-3,
           .rotation = at::stack({angles.cos(), angles.sin()}, -1).flatten(1),
           .normalizer = normalizer,
           .normalizer_eps = 1e-6,
           .least_normalizer = 1e-6,
           .head_norm = 1 + 0.3 * noise({D}, 8),
           .head_eps = 1e-3,
           .gate = bfloat16(9)}};
}

at::Tensor normed(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return weight.defined() ? x / (x.square().mean(-1, true) + eps).sqrt() * weight.to(at::kDouble) : x;
}

/// [B, N, H, D] by the angles of `rotation` [N, D].
at::Tensor rotate(const at::Tensor& x, const at::Tensor& rotation) {
  if (!rotation.defined()) return x;
  const at::Tensor turn = rotation.to(at::kDouble).unflatten(-1, {-1, 2}).unsqueeze(1);  // [N, 1, D / 2, 2]
  const at::Tensor c = turn.select(-1, 0), s = turn.select(-1, 1);
  const at::Tensor even = x.slice(-1, 0, c10::nullopt, 2), odd = x.slice(-1, 1, c10::nullopt, 2);
  return at::stack({even * c - odd * s, even * s + odd * c}, -1).flatten(-2);
}

/// Pair by pair in float64, no summaries: the result, and the normalizer [B, H, M, P] before the guard.
std::pair<at::Tensor, at::Tensor> reference(const Inputs& in) {
  const BlockAttention& plan = in.plan;
  const int64_t N = in.q.size(1), M = plan.tokens.size(0), P = plan.tokens.size(1), B = in.q.size(0), H = plan.heads;
  const auto heads = [&](const at::Tensor& x) { return x.unflatten(-1, {H, -1}); };  // [B, N, H, D]
  const auto features = [&](const at::Tensor& x, const at::Tensor& norm) {
    return heads(at::relu(normed(x.to(at::kDouble), norm, plan.norm_eps)) + 1e-6);
  };
  const at::Tensor q = features(in.q, plan.q_norm), k = features(in.k, plan.k_norm), v = heads(in.v.to(at::kDouble));
  at::Tensor block = at::zeros({N}, at::kLong);
  for (int64_t m = 0; m < M; ++m)
    for (int64_t p = 0; p < P; ++p)
      if (const auto token = plan.tokens[m][p].item<int64_t>(); token >= 0) block[token] = m;
  const at::Tensor mixing = plan.mixing.to(at::kDouble);
  const at::Tensor shares = mixing.index_select(0, block).index_select(1, block);  // [N, N]
  at::Tensor out =
      at::einsum("bnhd,bmhd,nm,bmhe->bnhe", {rotate(q, plan.rotation), rotate(k, plan.rotation), shares, v});
  at::Tensor n = at::full({B, H, M, P}, plan.normalizer_eps, at::kDouble);
  if (plan.normalizer == BlockNormalizer::kSums) {
    const at::Tensor sums = at::einsum("bnhd,bmhd,nm->bhn", {q, k, shares}) + plan.normalizer_eps;
    for (int64_t m = 0; m < M; ++m)
      for (int64_t p = 0; p < P; ++p)
        if (const auto token = plan.tokens[m][p].item<int64_t>(); token >= 0)
          n.select(2, m).select(2, p).copy_(sums.select(2, token));
  }
  if (plan.normalizer == BlockNormalizer::kProducts) {
    at::Tensor products = at::zeros({B, H, M, P}, at::kDouble);
    for (int64_t m = 0; m < M; ++m) {
      const at::Tensor places = (plan.tokens[m] >= 0).nonzero().flatten();
      const at::Tensor members = plan.tokens[m].index_select(0, places).to(at::kLong);
      const at::Tensor own = at::einsum("bnhd,bmhd->bhn", {q.index_select(1, members), k.index_select(1, members)});
      products.select(2, m).copy_(own.mean(-1, true).expand({B, H, P}));
      products.select(2, m).index_copy_(2, places, own);
    }
    n = at::einsum("ij,bhjp->bhip", {mixing, products}) + plan.normalizer_eps;
  }
  if (plan.normalizer != BlockNormalizer::kNone)
    for (int64_t m = 0; m < M; ++m)
      for (int64_t p = 0; p < P; ++p)
        if (const auto token = plan.tokens[m][p].item<int64_t>(); token >= 0) {
          const at::Tensor divisor = n.select(2, m).select(2, p);  // [B, H]
          out.select(1, token).div_(
              at::copysign(divisor.abs().clamp_min(plan.least_normalizer), divisor).unsqueeze(-1));
        }
  out = normed(out, plan.head_norm, plan.head_eps).flatten(2);
  if (plan.gate.defined()) out = out * at::silu(plan.gate.to(at::kDouble));
  return {out, n};
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
}

class BlockAttentionKernel : public testing::TestWithParam<AttentionProducts> {
 protected:
  void SetUp() override {
    if (instruction_set() < InstructionSet::kAvx512Bf16) GTEST_SKIP() << "this machine lacks AVX512-BF16";
    if (GetParam() == AttentionProducts::kTiles && instruction_set() < InstructionSet::kAmx)
      GTEST_SKIP() << "this machine lacks AMX";
  }
  static BlockAttentionResult run(const Inputs& in) { return block_attention(in.q, in.k, in.v, in.plan, GetParam()); }
  /// Of a bfloat16 result, whose rounding alone is 1.7e-3; the others round features and summaries as well, which in
  /// the cases of a few tokens does not average out. RoundsNoWorseThanComposedOperations has many.
  static double tolerance() {
    constexpr double kTolerances[] = {2.5e-3, 1.5e-2, 2.5e-2};
    return kTolerances[static_cast<size_t>(GetParam())];
  }
};
INSTANTIATE_TEST_SUITE_P(Products, BlockAttentionKernel,
                         testing::Values(AttentionProducts::kFloat, AttentionProducts::kPairs,
                                         AttentionProducts::kTiles),
                         test::name_of_products);

TEST_P(BlockAttentionKernel, EqualsEveryPairOfTokens) {
  for (const Case& c : cases())
    for (const auto normalizer : {BlockNormalizer::kProducts, BlockNormalizer::kSums, BlockNormalizer::kNone}) {
      SCOPED_TRACE(c10::str(c.name, ", normalizer ", static_cast<int>(normalizer)));
      const Inputs in = inputs(c, normalizer);
      const auto [wanted, n] = reference(in);
      const BlockAttentionResult result = run(in);
      ASSERT_EQ(result.out.sizes(), wanted.sizes());
      EXPECT_LE(distance(result.out, wanted), tolerance());
      EXPECT_EQ(result.normalizer.defined(), normalizer != BlockNormalizer::kNone);
      if (result.normalizer.defined()) EXPECT_CLOSE(result.normalizer, n, 1e-5);
    }
}

/// Everything optional left out: relu + 1e-6 of q and k, mixed, divided.
TEST_P(BlockAttentionKernel, EqualsEveryPairOfTokensWithoutNormsRotationAndGate) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    Inputs in = inputs(c, BlockNormalizer::kSums);
    in.plan.q_norm = in.plan.k_norm = in.plan.rotation = in.plan.head_norm = in.plan.gate = at::Tensor();
    EXPECT_LE(distance(run(in).out, reference(in).first), tolerance());
  }
}

/// One head of two channels: blocks {0, 1} and {2}, no norms. k features are (1, 0), (0, 2), (1, 1) and v (1, 0), (0,
/// 1), (4, 4), so S_0 = [[1, 0], [0, 2]], S_1 = [[4, 4], [4, 4]], z_0 = (1, 2), z_1 = (1, 1).
TEST_P(BlockAttentionKernel, ByHand) {
  const auto rows = [](std::initializer_list<float> values) {
    return at::tensor(at::ArrayRef<float>(values), at::kFloat).view({1, 3, 2}).to(at::kBFloat16);
  };
  const Inputs in{rows({1, 0, 0, 1, 1, -5}),
                  rows({1, 0, -3, 2, 1, 1}),
                  rows({1, 0, 0, 1, 4, 4}),
                  {.heads = 1,
                   .tokens = at::tensor({0, 1, 2, -1}, at::kInt).view({2, 2}),
                   .mixing = at::tensor({1.0F, 0.5F, 0.0F, 2.0F}).view({2, 2}),
                   .normalizer = BlockNormalizer::kSums}};
  // Block 0: [[3, 2], [2, 4]] and z (1.5, 2.5); block 1: [[8, 8], [8, 8]] and z (2, 2).
  const at::Tensor wanted = at::tensor({3 / 1.5, 2 / 1.5, 2 / 2.5, 4 / 2.5, 4.0, 4.0}, at::kDouble).view({1, 3, 2});
  const BlockAttentionResult result = run(in);
  EXPECT_CLOSE(result.out, wanted, 4e-3);
  EXPECT_CLOSE(result.normalizer.flatten(), at::tensor({1.5F, 2.5F, 2.0F, 0.0F}), 1e-5);
}

/// 1,200 tokens in 30 blocks, against products of whole bfloat16 tensors, whose results are rounded one after another:
/// in tiles the same values are rounded, others' sums.
TEST_P(BlockAttentionKernel, RoundsNoWorseThanComposedOperations) {
  Inputs in = inputs({"30 blocks", 1, 1, 128, dealt(1200, 30)}, BlockNormalizer::kNone);
  in.plan.q_norm = in.plan.k_norm = in.plan.head_norm = in.plan.gate = at::Tensor();
  const at::Tensor wanted = reference(in).first, order = in.plan.tokens.flatten();
  const auto grouped = [&](const at::Tensor& x) { return x[0].index_select(0, order).unflatten(0, {30, 40}); };
  const auto features = [&](const at::Tensor& x) {
    const at::Tensor rows = (at::relu(x.to(at::kDouble)) + 1e-6).unflatten(-1, {1, -1});
    return grouped(rotate(rows, in.plan.rotation).flatten(2).to(at::kBFloat16));
  };
  const at::Tensor summaries = at::matmul(features(in.k).mT(), grouped(in.v));
  const at::Tensor mixed = at::matmul(in.plan.mixing.to(at::kBFloat16), summaries.flatten(1)).view_as(summaries);
  const at::Tensor composed = at::matmul(features(in.q), mixed).flatten(0, 1);
  EXPECT_LE(distance(run(in).out, wanted), 1.01 * distance(composed, wanted[0].index_select(0, order)));
}

TEST_P(BlockAttentionKernel, HoldsNormalizersAwayFromZero) {
  Inputs in = inputs(cases()[2], BlockNormalizer::kSums);
  in.plan.mixing = at::full_like(in.plan.mixing, -1e-12);
  in.plan.head_norm = at::Tensor();
  const BlockAttentionResult result = run(in);
  EXPECT_TRUE(result.out.isfinite().all().item<bool>());
  EXPECT_LE(distance(result.out, reference(in).first), tolerance());
}

TEST_P(BlockAttentionKernel, TakesSlicesOfOneProduct) {
  Inputs in = inputs(cases()[2], BlockNormalizer::kProducts);
  const at::Tensor out = run(in).out, all = at::cat({in.q, in.k, in.v}, -1);
  const int64_t C = in.q.size(2);
  in.q = all.narrow(2, 0, C);
  in.k = all.narrow(2, C, C);
  in.v = all.narrow(2, 2 * C, C);
  EXPECT_TRUE(at::equal(run(in).out, out));
}

/// The same bytes for a sample alone, and by any number of threads.
TEST_P(BlockAttentionKernel, ASampleDependsOnNothingElse) {
  for (const auto normalizer : {BlockNormalizer::kProducts, BlockNormalizer::kSums}) {
    Inputs in = inputs(cases()[2], normalizer);
    const at::Tensor all = run(in).out;
    const int threads = at::get_num_threads();
    for (const int count : {1, 2, 3, 7}) {
      at::set_num_threads(count);
      EXPECT_TRUE(at::equal(run(in).out, all)) << count << " threads";
    }
    at::set_num_threads(threads);
    for (at::Tensor* x : {&in.q, &in.k, &in.v, &in.plan.gate}) *x = x->narrow(0, 1, 1);
    EXPECT_TRUE(at::equal(run(in).out, all.narrow(0, 1, 1)));
  }
}

TEST_P(BlockAttentionKernel, KeepsNanVisible) {
  Inputs in = inputs(cases()[2], BlockNormalizer::kSums);
  in.q[0][5][1] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor out = run(in).out;
  EXPECT_TRUE(out[0][5].isnan().all().item<bool>());
  EXPECT_FALSE(out[0][6].isnan().any().item<bool>());
  in.k[0][5][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(run(in).out[0].isnan().all().item<bool>());
}

TEST(BlockAttentionSupport, IsRefusedWhereItCannotRun) {
  const Inputs in = inputs(cases()[2], BlockNormalizer::kNone);
  EXPECT_FALSE(can_attend_blocks(in.q.to(at::kFloat), in.k, in.v, 3));
  EXPECT_FALSE(can_attend_blocks(in.q, in.k, in.v.clone().requires_grad_(), 3));
  EXPECT_EQ(can_attend_blocks(in.q, in.k, in.v, 3), instruction_set() >= InstructionSet::kAvx512Bf16);
  const LimitInstructions limit(InstructionSet::kAvx512);
  EXPECT_FALSE(can_attend_blocks(in.q, in.k, in.v, 3));
  EXPECT_THROW(block_attention(in.q, in.k, in.v, in.plan), c10::Error);
}

}  // namespace
}  // namespace tessera
