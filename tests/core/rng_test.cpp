#include "core/rng.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tessera {

// torch.randn(4, generator=torch.Generator("cpu").manual_seed(42)) and the first four of torch.randn(20, ...): for 16
// and more elements torch fills in another order, which is why whole shapes must be drawn at once.
TEST(SeededNoise, EqualsTorchGenerator) {
  const at::Tensor few = seeded_noise({4}, 42);
  EXPECT_TRUE(at::allclose(
      few, at::tensor({0.33669036626815796f, 0.12880940735340118f, 0.23446236550807953f, 0.23033303022384644f}), 0, 0));
  const at::Tensor many = seeded_noise({20}, 42).slice(0, 0, 4);
  EXPECT_TRUE(at::allclose(
      many, at::tensor({1.9269152879714966f, 1.4872840642929077f, 0.9007171988487244f, -2.1055209636688232f}), 0, 0));
}

TEST(SeededNoise, RowsDependOnTheirSeedAlone) {
  const at::Tensor batch = seeded_noise_batch({3, 5}, {7, 8, 9});
  EXPECT_TRUE(batch[1].equal(seeded_noise({3, 5}, 8)));
  EXPECT_TRUE(batch[1].equal(seeded_noise_batch({3, 5}, {8})[0]));
  EXPECT_FALSE(batch[0].equal(batch[1]));
}

}  // namespace tessera
