#include "pipelines/attention_analysis.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "pipelines/analyze.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

TEST(FiguresOf, MatricesByHand) {
  const HeadFigures one = figures_of(at::eye(4));
  EXPECT_EQ(one.rank, 4);
  EXPECT_NEAR(one.effective_rank, 4, 1e-4);
  EXPECT_NEAR(one.entropy, 0, 1e-6);
  const HeadFigures alike = figures_of(at::full({4, 4}, 0.25));
  EXPECT_EQ(alike.rank, 1);
  EXPECT_NEAR(alike.effective_rank, 1, 1e-4);
  EXPECT_NEAR(alike.entropy, 1, 1e-6);
  // Two pairs of equal rows; signs and the scale of a row do not change its entropy: ln 2 / ln 4.
  const at::Tensor pairs = at::tensor({2., -2., 0., 0., 1., -1., 0., 0., 0., 0., 3., 3., 0., 0., 3., 3.}).view({4, 4});
  EXPECT_EQ(figures_of(pairs).rank, 2);
  EXPECT_NEAR(figures_of(pairs).entropy, 0.5, 1e-6);
  // Singular values 3 and 1: exp(-(0.75 ln 0.75 + 0.25 ln 0.25)).
  EXPECT_NEAR(figures_of(at::diag(at::tensor({3., 1.}))).effective_rank, 1.754765, 1e-5);
}

AttentionView view_of(const at::Tensor& weights, const Extent3& grid) {
  AttentionView view;
  view.kind = AttentionKind::kMhla;
  view.grid = grid;
  view.weights = weights;
  view.normalizer = at::tensor({0.5, 2.0, 3.0, 4.0}).view({1, 1, 4});
  view.mixing = at::eye(2);
  return view;
}

TEST(AttentionAnalysis, LooksAtTheChosenCallsAndMapsTheToken) {
  AttentionAnalysis analysis({{2}, Extent3{1, 0, 1}});
  const at::Tensor weights = at::arange(16, at::kFloat).view({1, 1, 4, 4});
  for (const double t : {900.0, 400.0, 100.0}) {
    analysis.begin_call(at::tensor({t, t}));
    for (int layer = 0; layer < 2 && analysis.wants_views(); ++layer) analysis.see(view_of(weights, {2, 1, 2}));
  }
  ASSERT_EQ(analysis.layers().size(), 2u);
  EXPECT_EQ(analysis.layers()[1].call, 2);
  EXPECT_EQ(analysis.layers()[1].layer, 1);
  EXPECT_EQ(analysis.layers()[1].timestep, 400);
  EXPECT_EQ(*analysis.layers()[0].smallest_normalizer, 0.5);
  EXPECT_EQ(*analysis.layers()[0].largest_normalizer, 4);
  const std::vector<AnalysisMap> maps = analysis.maps();
  ASSERT_EQ(maps.size(), 4u);
  EXPECT_EQ(maps[0].name, "mixing_layer0");
  EXPECT_EQ(maps[2].name, "token_call2_layer0");
  // Token (1, 0, 1) is the last: row 3, two frames of one row and two columns beside each other.
  EXPECT_TRUE(at::equal(maps[2].values, at::tensor({12.f, 13.f, 14.f, 15.f}).view({1, 4})));
}

TEST(AttentionAnalysis, RefusesTokensOutsideAndGridsTooLarge) {
  const at::Tensor weights = at::ones({1, 1, 4, 4});
  AttentionAnalysis outside({{1}, Extent3{0, 1, 0}});
  outside.begin_call(at::tensor({1.0}));
  EXPECT_THROW(outside.see(view_of(weights, {2, 1, 2})), Error);
  AttentionAnalysis large({{1}, {}});
  large.begin_call(at::tensor({1.0}));
  EXPECT_THROW(large.see(view_of(weights, {1, 64, 65})), Error);
}

TEST(MapPicture, WhiteIsZeroBlueAboveRedBelow) {
  const at::Tensor picture = map_picture(at::tensor({0.f, 2.f, -2.f}).view({1, 3}));
  EXPECT_EQ(picture.sizes(), (at::IntArrayRef{3, 24, 72}));
  const auto pixel = [&](int64_t column) { return picture.select(2, column).select(1, 0); };
  EXPECT_CLOSE(pixel(0), at::tensor({1.f, 1.f, 1.f}), 1e-6);
  EXPECT_CLOSE(pixel(30), at::tensor({0.f, 0.3f, 0.8f}), 1e-6);
  EXPECT_CLOSE(pixel(60), at::tensor({0.8f, 0.f, 0.f}), 1e-6);
}

}  // namespace
}  // namespace tessera
