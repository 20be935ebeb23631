#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/attention_products.h"

namespace tessera::test {

/// Of a test that runs with each AttentionProducts.
inline std::string name_of_products(const testing::TestParamInfo<AttentionProducts>& info) {
  switch (info.param) {
    case AttentionProducts::kFloat:
      return "OfFloat";
    case AttentionProducts::kPairs:
      return "OfPairs";
    default:
      return "InTiles";
  }
}

}  // namespace tessera::test
