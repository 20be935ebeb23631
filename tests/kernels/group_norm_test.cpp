#include "kernels/group_norm.h"

#include <ATen/Parallel.h>

#include "kernels/instruction_set.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

at::Tensor rounded(const at::Tensor& x) {
  return x.to(at::kBFloat16);
}

// Group 0 holds 1, 3, 5, 7: mean 4, variance 5; group 1 holds 2, 2, 2, 2. With eps 4: (x - 4) / 3 and 0.
TEST(GroupNormRows, MatchesHandComputedNumbers) {
  const at::Tensor x = rounded(at::tensor({1.0f, 3.0f, 2.0f, 2.0f, 5.0f, 7.0f, 2.0f, 2.0f}).view({1, 2, 4}));
  const at::Tensor weight = at::tensor({3.0f, 6.0f, 1.0f, 1.0f}), bias = at::tensor({0.0f, 1.0f, 0.5f, -2.0f});
  const at::Tensor plain = group_norm_rows(x, 2, weight, bias, 4.0, /*silu=*/false);
  EXPECT_CLOSE(plain.flatten(), at::tensor({-3.0f, -1.0f, 0.5f, -2.0f, 1.0f, 7.0f, 0.5f, -2.0f}), 1e-6);
  const at::Tensor silu = group_norm_rows(x, 2, weight, bias, 4.0, /*silu=*/true);
  EXPECT_CLOSE(silu.flatten(), at::silu(plain.to(at::kFloat)).flatten(), 4e-3);
}

void expect_equals_aten(int64_t batch, int64_t rows, int64_t channels, int64_t groups) {
  SCOPED_TRACE(c10::str(batch, " x ", rows, " x ", channels));
  const at::Tensor x = rounded(at::randn({batch, rows, channels}) * 2 + 3);
  const at::Tensor weight = at::randn({channels}), bias = at::randn({channels});
  const at::Tensor wanted = at::silu(at::group_norm(x.to(at::kDouble).mT().contiguous(), groups, weight.to(at::kDouble),
                                                    bias.to(at::kDouble), 1e-6))
                                .mT();
  const at::Tensor got = group_norm_rows(x, groups, weight, bias, 1e-6, /*silu=*/true);
  EXPECT_CLOSE(got, wanted, 4e-3);
  const int threads = at::get_num_threads();
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    EXPECT_TRUE(at::equal(group_norm_rows(x, groups, weight, bias, 1e-6, true), got)) << count << " threads";
    EXPECT_TRUE(at::equal(group_norm_rows(x.narrow(0, batch - 1, 1), groups, weight, bias, 1e-6, true),
                          got.narrow(0, batch - 1, 1)));
  }
  at::set_num_threads(threads);
}

TEST(GroupNormRows, EqualsFloat64WithAnyInstructions) {
  at::manual_seed(6);
  for (const auto set : {InstructionSet::kAny, InstructionSet::kAvx2, InstructionSet::kAvx512Bf16}) {
    const LimitInstructions limit(set);
    expect_equals_aten(1, 1000, 64, 32);
    expect_equals_aten(3, 257, 24, 4);
    expect_equals_aten(2, 1, 128, 32);
  }
}

TEST(GroupNormRows, SaysWhatItTakes) {
  const at::Tensor x = at::zeros({1, 2, 4}, at::kBFloat16), weight = at::ones({4});
  EXPECT_TRUE(has_group_norm(x, weight));
  EXPECT_FALSE(has_group_norm(x.to(at::kFloat), weight));
  EXPECT_FALSE(has_group_norm(x, at::ones({4}).requires_grad_()));
  EXPECT_THROW(group_norm_rows(x, 3, weight, weight, 1e-6, false), c10::Error);
}

}  // namespace
}  // namespace tessera
