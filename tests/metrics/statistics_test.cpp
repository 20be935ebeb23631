#include "metrics/statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "tests/metrics/rows.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using test::rows;

void expect_same(const FeatureStatistics& a, const FeatureStatistics& b) {
  ASSERT_EQ(a.count(), b.count());
  const Gaussian left = a.gaussian(CovarianceDivisor::kCount), right = b.gaussian(CovarianceDivisor::kCount);
  EXPECT_LT((left.mean - right.mean).abs().max().item<double>(), 1e-12 * right.mean.abs().max().item<double>());
  EXPECT_LT((left.covariance - right.covariance).abs().max().item<double>(),
            1e-12 * right.covariance.abs().max().item<double>());
}

TEST(FeatureStatistics, BothDivisorsByHand) {
  FeatureStatistics statistics(2);
  statistics.add(rows({{0, 1}, {2, 1}}));
  statistics.add(rows({{4, 4}}));
  // Means 2 and 2; deviations (-2, -1), (0, -1), (2, 2): squares 8 and 6, products 2 + 0 + 4 = 6.
  const Gaussian sample = statistics.gaussian(CovarianceDivisor::kCountMinusOne);
  EXPECT_TRUE(at::allclose(sample.mean, at::tensor({2.0, 2.0}, at::kDouble)));
  EXPECT_TRUE(at::allclose(sample.covariance, rows({{4, 3}, {3, 3}})));
  EXPECT_EQ(sample.count, 3);
  EXPECT_TRUE(at::allclose(statistics.gaussian(CovarianceDivisor::kCount).covariance, rows({{8.0 / 3, 2}, {2, 2}})));
}

TEST(FeatureStatistics, AnySplitAndOrderOfMergingGivesTheSame) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({97, 5}, at::kDouble) * 3 + 1e4;  // far from zero: E[xx] - mm would lose six digits
  FeatureStatistics whole(5), left(5), right(5), ones(5), empty(5);
  whole.add(x);
  left.add(x.slice(0, 0, 30));
  right.add(x.slice(0, 30, 97));
  right.merge(empty);
  right.merge(left);
  empty.merge(right);
  for (int64_t i = 0; i < x.size(0); ++i) ones.add(x.slice(0, i, i + 1));
  expect_same(right, whole);
  expect_same(empty, whole);
  expect_same(ones, whole);
  const at::Tensor centered = x - x.mean(0);
  EXPECT_LT((whole.gaussian(CovarianceDivisor::kCount).covariance - centered.t().matmul(centered) / 97)
                .abs()
                .max()
                .item<double>(),
            1e-10);
}

TEST(FeatureStatistics, FileGivesTheSameBits) {
  const test::TemporaryFolder folder;
  FeatureStatistics statistics(3);
  at::manual_seed(2);
  statistics.add(at::randn({10, 3}));
  statistics.save(folder / "part.safetensors");
  const FeatureStatistics again = FeatureStatistics::load(folder / "part.safetensors");
  EXPECT_EQ(again.count(), 10);
  EXPECT_TRUE(again.mean().equal(statistics.mean()));
  EXPECT_TRUE(again.gaussian(CovarianceDivisor::kCount)
                  .covariance.equal(statistics.gaussian(CovarianceDivisor::kCount).covariance));
}

TEST(FeatureStatistics, RefusesWhatHasNoStatistics) {
  FeatureStatistics statistics(2), wide(3);
  EXPECT_THROW(statistics.gaussian(CovarianceDivisor::kCount), Error);
  EXPECT_THROW(statistics.merge(wide), Error);
  EXPECT_THROW(statistics.add(rows({{0, 1}, {std::numeric_limits<double>::quiet_NaN(), 0}})), Error);
  EXPECT_THROW(statistics.add(rows({{std::numeric_limits<double>::infinity(), 0}})), Error);
  EXPECT_EQ(statistics.count(), 0) << "a refused batch adds nothing";
  EXPECT_THROW(statistics.add(at::zeros({2, 3})), c10::Error);
  statistics.add(at::zeros({0, 2}));
  statistics.add(rows({{1, 2}}));
  EXPECT_THROW(statistics.gaussian(CovarianceDivisor::kCountMinusOne), Error);
  EXPECT_EQ(statistics.gaussian(CovarianceDivisor::kCount).covariance.abs().sum().item<double>(), 0.0);
}

}  // namespace
}  // namespace tessera
