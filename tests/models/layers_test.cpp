#include "models/layers.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "kernels/instruction_set.h"
#include "kernels/library_linear.h"
#include "kernels/pack.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

/// Rows that lie apart in memory, and few or many of them, give the bits of the same rows alone.
TEST(LinearRows, NeitherGapsNorTheNumberOfRowsChangeARow) {
  const c10::InferenceMode no_gradients;
  at::manual_seed(3);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::randn({2, 32, 128}).to(dtype), bias = at::randn({192}).to(dtype);
    const at::Tensor weight = (at::randn({192, 128}) * 0.1).to(dtype);
    const at::Tensor want = linear_rows(x, weight, bias);
    for (const int64_t rows : {1, 5, 9, 31}) {
      const at::Tensor some = linear_rows(x.narrow(1, 0, rows), weight, bias);
      EXPECT_TRUE(at::equal(some, want.narrow(1, 0, rows))) << dtype << " " << rows;
    }
  }
}

TEST(LinearRows, OneByOneTheyAreTheSameProducts) {
  const c10::InferenceMode no_gradients;
  Linear layer;
  layer.weight = at::randn({48, 40});
  layer.bias = at::randn({48});
  at::Tensor x = at::randn({4, 40});
  x[2].copy_(x[1]);
  const at::Tensor y = layer.each_row(x);
  EXPECT_CLOSE(y, at::linear(x.to(at::kDouble), layer.weight.to(at::kDouble), layer.bias.to(at::kDouble)), 1e-6);
  EXPECT_TRUE(at::equal(layer.each_row(x.narrow(0, 3, 1)), y.narrow(0, 3, 1)));
}

/// A bfloat16 layer, and the same with its matrix arranged for tile registers.
struct ArrangedLayer {
  explicit ArrangedLayer(int64_t inputs = 700, int64_t outputs = 130) {
    plain.weight = at::randn({outputs, inputs}).to(at::kBFloat16);
    plain.bias = at::randn({outputs}).to(at::kBFloat16);
    fast = plain;
    if (can_arrange(plain.weight)) fast.weight = arranged(plain.weight);
  }

  Linear plain, fast;
};

TEST(ArrangedWeights, OnlyBfloat16MatricesOnTheCpuAre) {
  EXPECT_EQ(can_arrange(at::ones({2, 3}, at::kBFloat16)), has_tile_registers());
  EXPECT_FALSE(can_arrange(at::ones({2, 3})));
  EXPECT_FALSE(can_arrange(at::ones({3}, at::kBFloat16)));
  EXPECT_FALSE(can_arrange(at::ones({2, 0}, at::kBFloat16)));
  EXPECT_FALSE(can_arrange(packed_tensor(pack(at::ones({2, 3}), PackedType::kInt8), at::kBFloat16)));
  if (!has_tile_registers()) return;
  EXPECT_FALSE(can_arrange(arranged(at::ones({2, 3}, at::kBFloat16))));
}

TEST(ArrangedWeights, MultiplyAsPlainOnes) {
  if (!has_tile_registers()) GTEST_SKIP() << "this machine has no AMX, and weights stay as they are";
  const ArrangedLayer layer;
  for (const int64_t rows : {1, 2, 40, 300}) {
    const at::Tensor x = at::randn({rows, 700}).to(at::kBFloat16);
    const at::Tensor want =
        at::linear(x.to(at::kDouble), layer.plain.weight.to(at::kDouble), layer.plain.bias.to(at::kDouble));
    EXPECT_EQ(layer.fast(x).scalar_type(), at::kBFloat16);
    EXPECT_CLOSE(layer.fast(x), want, 4e-3);
    EXPECT_CLOSE(layer.fast.gelu(x), at::gelu(want, "tanh"), 6e-3);
  }
  const at::Tensor x = at::randn({2, 3, 700}).to(at::kBFloat16);
  EXPECT_EQ(layer.fast(x).sizes(), at::IntArrayRef({2, 3, 130}));
}

/// Pictures must not depend on the batch they are made in. At 8,960 inputs the library splits the sums of a row by the
/// number of rows.
TEST(ArrangedWeights, SamplesDoNotDependOnTheBatch) {
  if (!has_tile_registers()) GTEST_SKIP() << "this machine has no AMX, and weights stay as they are";
  for (const int64_t inputs : {96, 8960}) {
    const ArrangedLayer layer(inputs, 1536);
    const at::Tensor x = at::randn({3, 200, inputs}).to(at::kBFloat16), all = layer.fast(x);
    EXPECT_TRUE(at::equal(layer.fast(x.narrow(0, 1, 1)), all.narrow(0, 1, 1))) << inputs;
    EXPECT_TRUE(at::equal(layer.fast(x.narrow(0, 1, 2)), all.narrow(0, 1, 2))) << inputs;
  }
}

}  // namespace
}  // namespace tessera
