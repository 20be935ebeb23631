#include "models/tiles.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(TileSpans, CoverTheAxisWithTheOverlapAskedFor) {
  for (const int64_t length : {1, 5, 8, 9, 13, 16, 17, 31, 64, 100}) {
    SCOPED_TRACE(length);
    const auto spans = tile_spans(length, 8, 2);
    EXPECT_EQ(spans.front().begin, 0);
    EXPECT_EQ(spans.back().begin + spans.back().length, length);
    for (size_t i = 1; i < spans.size(); ++i) {
      EXPECT_EQ(spans[i].length, 8);
      EXPECT_GT(spans[i].begin, spans[i - 1].begin);
      EXPECT_GE(spans[i - 1].begin + 8 - spans[i].begin, 2);
    }
  }
  EXPECT_EQ(tile_spans(8, 8, 2).size(), 1u);
  EXPECT_EQ(tile_spans(14, 8, 2).size(), 2u);  // 0..8 and 6..14
  EXPECT_THROW(tile_spans(8, 4, 4), c10::Error);
}

TEST(TileWindow, FallsTowardsNeighborsAlone) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  // Overlap 2: 0.25 and 0.75 at the end that has a neighbor, 1 elsewhere.
  EXPECT_TRUE(at::allclose(tile_window({0, 4}, 6, 2, options), at::tensor({1.0F, 1.0F, 0.75F, 0.25F})));
  EXPECT_TRUE(at::allclose(tile_window({2, 4}, 6, 2, options), at::tensor({0.25F, 0.75F, 1.0F, 1.0F})));
  EXPECT_TRUE(at::equal(tile_window({0, 6}, 6, 2, options), at::ones({6})));
}

}  // namespace
}  // namespace tessera
