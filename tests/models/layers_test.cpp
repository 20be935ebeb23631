#include "models/layers.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace tessera
