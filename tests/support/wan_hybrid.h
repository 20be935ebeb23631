#pragma once

#include "tests/support/fixture.h"
#include "tests/support/wan_hybrid_model.h"

namespace tessera::test {

/// One call of a fixture's network, whose normalizers are counted where it has any.
inline void expect_hybrid_forward(const std::string& name) {
  const Fixture fixture(name);
  const WanTransformer model = hybrid_model(fixture);
  NormalizerStats stats;
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], hybrid_context(fixture), &stats), fixture["out"], 2e-5);
  const AttentionConfig& attention = model.config().attention;
  const bool any = static_cast<int64_t>(attention.softmax_layers.size()) < model.config().num_layers;
  if (attention.normalizer == Normalizer::kNone || !any) {
    EXPECT_FALSE(stats.values.defined());
  } else {
    EXPECT_GT(stats.values.sum().item<int64_t>(), 0);
  }
}

}  // namespace tessera::test
