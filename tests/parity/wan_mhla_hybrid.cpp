// WanLinearAttentionModel of the MHLA repository, block layout of the release: softmax and MHLA layers mixed.
#include "tests/support/wan_hybrid.h"

namespace tessera {
namespace {

TEST(WanMhlaHybridParity, Forward) {
  const test::Fixture fixture("wan_mhla_hybrid");
  const WanTransformer model = test::hybrid_model(fixture);
  NormalizerStats stats;
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], test::hybrid_context(fixture), &stats), fixture["out"], 2e-5);
  if (model.config().attention.normalizer == Normalizer::kNone) {
    EXPECT_FALSE(stats.values.defined());
  } else {
    EXPECT_GT(stats.values.item<int64_t>(), 0);
  }
}

}  // namespace
}  // namespace tessera
