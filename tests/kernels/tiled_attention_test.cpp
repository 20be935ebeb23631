#include "kernels/tiled_attention.h"

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

at::Tensor by_head(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);  // [B, H, N, D]
}

at::Tensor bfloat16_noise(at::IntArrayRef shape, uint64_t seed) {
  return noise(shape, seed).to(at::kBFloat16);
}

/// softmax(q k^T / sqrt(D)) v in float64.
at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  const auto wide = [&](const at::Tensor& x) { return by_head(x.to(at::kDouble), heads); };
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(2) / heads));
  const at::Tensor weights = at::matmul(wide(q) * scale, wide(k).mT()).softmax(-1);
  return at::matmul(weights, wide(v)).transpose(1, 2).flatten(2);
}

/// |a - b| / |b| over all values.
double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
}

class TiledAttention : public testing::TestWithParam<AttentionProducts> {
 protected:
  void SetUp() override {
    if (instruction_set() < InstructionSet::kAvx512Bf16) GTEST_SKIP() << "this machine lacks AVX512-BF16";
    if (GetParam() == AttentionProducts::kTiles && instruction_set() < InstructionSet::kAmx)
      GTEST_SKIP() << "this machine lacks AMX";
  }
  static at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
    return tiled_attention(q, k, v, heads, GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Products, TiledAttention,
                         testing::Values(AttentionProducts::kFloat, AttentionProducts::kPairs,
                                         AttentionProducts::kTiles),
                         test::name_of_products);

struct Sizes {
  int64_t batch, queries, keys, heads, head_dim;
};

/// Whole and ragged blocks of 96 and 256 queries, 6 and 32 rows, 256, 64 and 32 keys, 16 lanes and pairs.
TEST_P(TiledAttention, ErrsNoMoreThanTheLibrary) {
  for (const Sizes& s : {Sizes{1, 96, 256, 1, 64}, Sizes{2, 7, 5, 3, 64}, Sizes{1, 97, 300, 2, 128},
                         Sizes{1, 200, 257, 2, 72}, Sizes{1, 13, 64, 1, 384}, Sizes{2, 101, 1025, 1, 16},
                         Sizes{1, 3, 1, 2, 2}, Sizes{1, 5, 33, 1, 98}, Sizes{1, 300, 600, 1, 48}}) {
    SCOPED_TRACE(c10::str(s.batch, " x ", s.queries, " queries, ", s.keys, " keys, ", s.heads, " of ", s.head_dim));
    const int64_t channels = s.heads * s.head_dim;
    const at::Tensor q = bfloat16_noise({s.batch, s.queries, channels}, 1) * 2;
    const at::Tensor k = bfloat16_noise({s.batch, s.keys, channels}, 2);
    const at::Tensor v = bfloat16_noise({s.batch, s.keys, channels}, 3);
    const at::Tensor wanted = reference(q, k, v, s.heads), out = run(q, k, v, s.heads);
    ASSERT_EQ(out.sizes(), wanted.sizes());
    EXPECT_EQ(out.scalar_type(), at::kBFloat16);
    const at::Tensor library =
        at::scaled_dot_product_attention(by_head(q, s.heads), by_head(k, s.heads), by_head(v, s.heads));
    EXPECT_LE(distance(out, wanted), 1.05 * distance(library.transpose(1, 2).flatten(2), wanted) + 1e-4);
    EXPECT_LE(distance(out, wanted), 4e-3);
  }
}

TEST_P(TiledAttention, ByHand) {
  const auto row = [](std::initializer_list<float> values) {
    return at::tensor(at::ArrayRef<float>(values), at::kFloat).view({1, -1, 2}).to(at::kBFloat16);
  };
  const at::Tensor keys = row({1, 0, 0, 1, -1, 0}), values = row({3, 0, 6, 9, 0, 3});
  // Equal scores give the mean; a score that is greater by 512 / sqrt(2) takes all.
  const at::Tensor out = run(row({0, 0, 512, 0, 0, 512}), keys, values, 1);
  EXPECT_TRUE(at::equal(out, row({3, 4, 3, 0, 6, 9}))) << out;
}

TEST_P(TiledAttention, LargeScoresAreFinite) {
  const at::Tensor q = bfloat16_noise({1, 30, 64}, 1) * 100, k = bfloat16_noise({1, 600, 64}, 2) * 100;
  const at::Tensor v = bfloat16_noise({1, 600, 64}, 3);
  EXPECT_LE(distance(run(q, k, v, 1), reference(q, k, v, 1)), 4e-3);
}

TEST_P(TiledAttention, TakesSlicesOfOneProduct) {
  const at::Tensor all = bfloat16_noise({2, 70, 3 * 2 * 64}, 1);
  const auto part = [&](int64_t i) { return all.narrow(2, i * 128, 128); };
  const auto dense = [&](int64_t i) { return part(i).contiguous(); };
  EXPECT_TRUE(at::equal(run(part(0), part(1), part(2), 2), run(dense(0), dense(1), dense(2), 2)));
}

/// The same bytes whatever else is computed, and by however many threads.
TEST_P(TiledAttention, ATokenDependsOnNothingElse) {
  const at::Tensor q = bfloat16_noise({3, 211, 2 * 72}, 1), k = bfloat16_noise({3, 301, 2 * 72}, 2);
  const at::Tensor v = bfloat16_noise({3, 301, 2 * 72}, 3), all = run(q, k, v, 2);
  const auto sample = [](const at::Tensor& x) { return x.narrow(0, 1, 1); };
  EXPECT_TRUE(at::equal(run(sample(q), sample(k), sample(v), 2), sample(all)));
  EXPECT_TRUE(at::equal(run(q.narrow(1, 100, 50), k, v, 2), all.narrow(1, 100, 50)));
  EXPECT_TRUE(at::equal(run(q.narrow(2, 72, 72), k.narrow(2, 72, 72), v.narrow(2, 72, 72), 1), all.narrow(2, 72, 72)));
  const int threads = at::get_num_threads();
  for (const int count : {1, 2, 3, 7}) {
    at::set_num_threads(count);
    EXPECT_TRUE(at::equal(run(q, k, v, 2), all)) << count << " threads";
  }
  at::set_num_threads(threads);
}

TEST_P(TiledAttention, KeepsNanVisible) {
  at::Tensor q = bfloat16_noise({1, 9, 64}, 1), k = bfloat16_noise({1, 70, 64}, 2), v = bfloat16_noise({1, 70, 64}, 3);
  q[0][4][7] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor out = run(q, k, v, 1);
  EXPECT_TRUE(out[0][4].isnan().all().item<bool>());
  EXPECT_FALSE(out[0][3].isnan().any().item<bool>());
  k[0][65][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(run(q, k, v, 1).isnan().all().item<bool>());
}

TEST(TiledAttentionSupport, IsRefusedWhereItCannotRun) {
  const at::Tensor x = bfloat16_noise({1, 4, 64}, 1);
  EXPECT_FALSE(can_tile_attention(x.to(at::kFloat), x, x, 1));
  EXPECT_FALSE(can_tile_attention(x, x, x, 64)) << "heads of one channel";
  EXPECT_FALSE(can_tile_attention(x.mT(), x.mT(), x.mT(), 1)) << "channels apart";
  EXPECT_FALSE(can_tile_attention(x.narrow(1, 0, 0), x, x, 1)) << "nothing";
  {
    const at::Tensor leaf = x.clone().requires_grad_();
    EXPECT_FALSE(can_tile_attention(leaf, x, x, 1));
    const at::NoGradGuard inference;
    EXPECT_EQ(can_tile_attention(leaf, x, x, 1), instruction_set() >= InstructionSet::kAvx512Bf16);
  }
  const LimitInstructions limit(InstructionSet::kAvx512);
  EXPECT_FALSE(can_tile_attention(x, x, x, 1));
  EXPECT_THROW(tiled_attention(x, x, x, 1), c10::Error);
}

}  // namespace
}  // namespace tessera
