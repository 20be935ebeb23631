#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "metrics/feature_store.h"
#include "metrics/frechet.h"
#include "metrics/inception_score.h"
#include "metrics/kid.h"
#include "metrics/neighbors.h"
#include "metrics/numpy_random.h"
#include "metrics/sampling_error.h"
#include "tests/metrics/rows.h"

namespace tessera {
namespace {

using test::rows;

Gaussian gaussian_of(const at::Tensor& features) {
  FeatureStatistics statistics(features.size(1));
  statistics.add(features);
  return statistics.gaussian(CovarianceDivisor::kCountMinusOne);
}

TEST(FrechetDistance, ByHand) {
  // Diagonal covariances commute: the distance is |m|^2 + sum (sqrt(a) - sqrt(b))^2 = 25 + (1 - 2)^2 + (3 - 5)^2.
  const Gaussian a{at::tensor({0.0, 0.0}, at::kDouble), rows({{1, 0}, {0, 9}}), {}};
  const Gaussian b{at::tensor({3.0, 4.0}, at::kDouble), rows({{4, 0}, {0, 25}}), {}};
  EXPECT_NEAR(frechet_distance(a, b), 30.0, 1e-12);
  // [[5, 4], [4, 5]] has root [[2, 1], [1, 2]]; against the unit matrix: tr 10 + 2 - 2 * 4.
  const Gaussian c{a.mean, rows({{5, 4}, {4, 5}}), {}}, unit{a.mean, rows({{1, 0}, {0, 1}}), {}};
  EXPECT_NEAR(frechet_distance(c, unit), 4.0, 1e-12);
}

TEST(FrechetDistance, IdenticalSetsAreZero) {
  at::manual_seed(3);
  for (const int64_t N : {2, 5, 40}) {
    const Gaussian a = gaussian_of(at::randn({N, 16}));
    EXPECT_LT(frechet_distance(a, a), 1e-12) << N;
  }
  const Gaussian constant = gaussian_of(at::ones({7, 16}));
  EXPECT_EQ(frechet_distance(constant, constant), 0.0);
}

TEST(FrechetDistance, DegenerateSetsGiveTheExactValue) {
  // Constant features: covariance 0, so only the means and the other trace count: 3^2 + 4 * 1/... of {-1, 1} * 1: 2.
  const Gaussian constant = gaussian_of(rows({{3, 0}, {3, 0}, {3, 0}})), spread = gaussian_of(rows({{0, -1}, {0, 1}}));
  EXPECT_NEAR(frechet_distance(constant, spread), 9 + 2, 1e-12);
  // Two lines at right angles: ranks 1 and 1 without overlap, so both traces stay whole.
  const Gaussian across = gaussian_of(rows({{-2, 0}, {2, 0}}));
  EXPECT_NEAR(frechet_distance(across, spread), 8 + 2, 1e-12);
  // The same line at half the length: (sqrt 8 - sqrt 2)^2 = 2.
  EXPECT_NEAR(frechet_distance(across, gaussian_of(rows({{-1, 0}, {1, 0}}))), 2.0, 1e-12);
}

TEST(FrechetDistance, FewerSamplesThanFeaturesAsBySingularValues) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({9, 300}, at::kDouble), y = at::randn({12, 300}, at::kDouble) * 2 + 1;
  const at::Tensor cx = (x - x.mean(0)) / std::sqrt(8.0), cy = (y - y.mean(0)) / std::sqrt(11.0);
  const double exact = ((x.mean(0) - y.mean(0)).square().sum() + cx.square().sum() + cy.square().sum() -
                        2 * at::linalg_svdvals(cx.matmul(cy.t())).sum())
                           .item<double>();
  EXPECT_NEAR(frechet_distance(gaussian_of(x), gaussian_of(y)), exact, 1e-10 * exact);
  // Stored in float32 a covariance is only nearly of low rank, which pivots alone would not notice.
  Gaussian stored = gaussian_of(x);
  stored.covariance = stored.covariance.to(at::kFloat);
  EXPECT_EQ(frechet_side(stored, "stored").root.size(1), 8);
  EXPECT_NEAR(frechet_distance(stored, gaussian_of(y)), exact, 1e-5 * exact);
  // Pivots stop at the largest; a negative direction among the others must still be seen.
  Gaussian indefinite = gaussian_of(x);
  indefinite.covariance[0][0] -= 100;
  EXPECT_THROW(frechet_side(indefinite, "indefinite"), Error);
}

TEST(FrechetDistance, FullRankAndDeadFeaturesTakeDifferentRootsToTheSameValue) {
  at::manual_seed(9);
  const at::Tensor x = at::randn({200, 6}, at::kDouble), y = at::randn({150, 6}, at::kDouble) * 1.5 + 0.5;
  const at::Tensor none = at::zeros({200, 2}, at::kDouble);  // features that a ReLU never lets through
  const double full = frechet_distance(gaussian_of(x), gaussian_of(y));
  const double dead =
      frechet_distance(gaussian_of(at::cat({x, none}, 1)), gaussian_of(at::cat({y, none.slice(0, 0, 150)}, 1)));
  EXPECT_GT(full, 0.1);
  EXPECT_NEAR(dead, full, 1e-10);
}

TEST(FrechetDistance, RefusesWhatIsNoCovariance) {
  const at::Tensor mean = at::zeros({2}, at::kDouble);
  const auto refuses = [&](const at::Tensor& covariance, const char* part, std::optional<int64_t> count = {}) {
    try {
      frechet_side({mean, covariance, count}, "ref.npz");
      FAIL() << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("ref.npz"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refuses(rows({{1, 0.5}, {0, 1}}), "not symmetric");
  refuses(rows({{1, 0}, {0, -1}}), "eigenvalue");
  refuses(rows({{-1, 0}, {0, -2}}), "eigenvalue");
  refuses(rows({{0, 1}, {1, 0}}), "eigenvalue", 1);  // nothing on the diagonal for a pivot to find
  refuses(rows({{1, 0}, {0, std::numeric_limits<double>::quiet_NaN()}}), "NaN");
  refuses(at::ones({2, 3}, at::kDouble), "[D, D]");
  EXPECT_THROW(frechet_distance(gaussian_of(at::randn({3, 4})), gaussian_of(at::randn({3, 5}))), Error);
}

TEST(NumpyRandom, DrawsAsNumpy) {
  NumpyRandom random(2020);
  EXPECT_EQ(random.permutation(10), (std::vector<int64_t>{2, 4, 9, 1, 5, 7, 6, 3, 8, 0}));
  EXPECT_EQ(random.choice(7, 4), (std::vector<int64_t>{4, 3, 1, 2}));
  EXPECT_EQ(random.choice(5, 5), (std::vector<int64_t>{1, 0, 2, 4, 3}));
  const std::vector<int64_t> many = NumpyRandom(2020).permutation(100000);
  EXPECT_EQ(many[0], 36082);
  EXPECT_EQ(many[4], 41101);
  EXPECT_EQ(many[99999], 41824);
}

TEST(KernelDistance, ByHand) {
  // One feature: kernel (xy + 1)^3. {0, 1}: k(0, 1) = 1; {2, 3}: k = 343; across: 1, 1, 27, 64, mean 93/4.
  const at::Tensor a = at::tensor({0.0, 1.0}).view({2, 1}), b = at::tensor({2.0, 3.0}).view({2, 1});
  EXPECT_NEAR(polynomial_mmd(a, b), 1 + 343 - 2 * 93.0 / 4, 1e-9);
  EXPECT_NEAR(kernel_distance(a, b, {5, 2, 1}).mean, 1 + 343 - 2 * 93.0 / 4, 1e-9);
  EXPECT_NEAR(kernel_distance(a, b, {5, 2, 1}).deviation, 0, 1e-9);
  EXPECT_THROW(kernel_distance(a, b, {5, 3, 1}), Error);
  EXPECT_THROW(kernel_distance(a, b, {5, 1, 1}), Error);
}

TEST(KernelDistance, SubsetsOfTorchFidelitysSeed) {
  // By NumPy: torch-fidelity's formula and draws in float64, RandomState(2020).
  const at::Tensor a = at::arange(300, at::kDouble).sin().view({60, 5});
  const at::Tensor b = (at::arange(250, at::kDouble) * 0.7).cos().view({50, 5});
  const ScoreSpread got = kernel_distance(a, b, {10, 20, 2020});
  EXPECT_NEAR(got.mean, 0.07280794971045652, 1e-12);
  EXPECT_NEAR(got.deviation, 0.10408761032656534, 1e-12);
}

TEST(InceptionScore, ShuffleOfTorchFidelitysSeed) {
  const at::Tensor logits = (at::arange(120, at::kDouble) * 1.3).sin().mul(3).view({30, 4});  // by NumPy as well
  const ScoreSpread got = inception_score(logits, 4, 2020);
  EXPECT_NEAR(got.mean, 2.0043877279633944, 1e-12);
  EXPECT_NEAR(got.deviation, 0.14211332998476392, 1e-12);
}

TEST(InceptionScore, ByHand) {
  // Certain and evenly spread over 4 classes: score 4; all alike: 1.
  EXPECT_NEAR(inception_score(at::eye(4, at::kFloat) * 2000, 1, {}).mean, 4.0, 1e-9);
  EXPECT_NEAR(inception_score(at::zeros({6, 4}), 2, 2020).mean, 1.0, 1e-12);
  // Two splits of the certain rows: two classes each.
  EXPECT_NEAR(inception_score(at::eye(4, at::kFloat) * 2000, 2, {}).mean, 2.0, 1e-9);
  EXPECT_THROW(inception_score(at::zeros({6, 4}), 7, {}), Error);
}

TEST(NeighborScores, ByHand) {
  // Real at 0, 1, 3, generated at 0.5, 10, 11; k = 1: real balls 1, 1, 2, generated balls 9.5, 1, 1.
  const at::Tensor real = at::tensor({0.0, 1.0, 3.0}).view({3, 1}), made = at::tensor({0.5, 10.0, 11.0}).view({3, 1});
  const NeighborScores scores = neighbor_scores(made, real, 1);
  EXPECT_NEAR(scores.precision, 1.0 / 3, 1e-12);  // 0.5
  EXPECT_NEAR(scores.recall, 1.0, 1e-12);         // all within 9.5 of 0.5
  EXPECT_NEAR(scores.density, 2.0 / 3, 1e-12);    // 0.5 is inside the balls of 0 and 1; 2.5 from 3, whose ball is 2
  EXPECT_NEAR(scores.coverage, 2.0 / 3, 1e-12);
  EXPECT_THROW(neighbor_scores(made, real, 3), Error);
}

TEST(NeighborScores, ConstantAndRepeatedSamplesTouchTheirOwnBalls) {
  at::manual_seed(5);
  const at::Tensor constant = at::randn({1, 64}).expand({30, 64}).contiguous();
  EXPECT_EQ(neighbor_scores(constant, constant, 3).precision, 1.0);
  EXPECT_EQ(neighbor_scores(constant, constant, 3).coverage, 0.0) << "an open ball of radius 0 holds nothing";
  const at::Tensor x = at::randn({600, 8});
  EXPECT_EQ(neighbor_scores(x, x, 5).recall, 1.0);
  EXPECT_EQ(neighbor_scores(x, x + 1000, 5).precision, 0.0);
}

TEST(NeighborScores, BlocksDoNotShow) {
  at::manual_seed(6);
  const at::Tensor real = at::randn({1500, 4}, at::kDouble), made = at::randn({1100, 4}, at::kDouble) * 1.5;
  const at::Tensor own = at::cdist(real, real), across = at::cdist(made, real, 2.0, 2);
  const at::Tensor balls = std::get<0>(own.kthvalue(4, 1));
  const double precision = (across <= balls).any(1).to(at::kDouble).mean().item<double>();
  const double density = (across < balls).to(at::kDouble).sum().item<double>() / 3 / 1100;
  const NeighborScores scores = neighbor_scores(made, real, 3);
  EXPECT_NEAR(scores.precision, precision, 1e-12);
  EXPECT_NEAR(scores.density, density, 1e-12);
}

TEST(FeatureStore, GivesBackTheRows) {
  FeatureStore store(3);
  EXPECT_EQ(store.rows().size(0), 0);
  const at::Tensor x = at::randn({5, 3});
  store.add(x.slice(0, 0, 2));
  const at::Tensor early = store.rows();
  store.add(x.slice(0, 2, 5));
  EXPECT_TRUE(store.rows().equal(x));
  EXPECT_TRUE(early.equal(x.slice(0, 0, 2)));
  EXPECT_EQ(statistics_of(store.rows(), {4, 4, 1}).count(), 3);
  EXPECT_TRUE(at::allclose(statistics_of(x, {4, 4, 1}).mean(), ((x[4] * 2 + x[1]) / 3).to(at::kDouble)));
  EXPECT_THROW(store.add(at::zeros({1, 2})), c10::Error);
}

TEST(SamplingError, InfinityRemovesTheBiasOfSmallSets) {
  at::manual_seed(7);
  const int64_t D = 8;
  const Gaussian truth{at::zeros({D}, at::kDouble), at::eye(D, at::kDouble), {}};
  const FrechetSide reference = frechet_side(truth, "truth");
  const at::Tensor x = at::randn({600, D});
  const double measured = frechet_distance(frechet_side(gaussian_of(x), "x"), reference);
  const FidInfinity limit = fid_infinity(x, reference, CovarianceDivisor::kCountMinusOne, 15, 1);
  EXPECT_EQ(limit.counts.front(), 300);
  EXPECT_EQ(limit.counts.back(), 600);
  EXPECT_NEAR(limit.distances.back(), measured, 1e-10);
  EXPECT_GT(limit.slope, 0);
  EXPECT_LT(std::abs(limit.value), measured / 2) << "the true distance is 0";
  EXPECT_THROW(fid_infinity(x.slice(0, 0, 3), reference, CovarianceDivisor::kCountMinusOne, 15, 1), Error);
}

TEST(SamplingError, BootstrapSpreadIsThatOfFreshSamples) {
  at::manual_seed(8);
  const int64_t D = 4, N = 200;
  const Gaussian truth{at::ones({D}, at::kDouble), at::eye(D, at::kDouble), {}};
  const FrechetSide reference = frechet_side(truth, "truth");
  const auto distance = [&](const at::Tensor& x) {
    return frechet_distance(frechet_side(gaussian_of(x), "x"), reference);
  };
  std::vector<double> fresh;
  for (int i = 0; i < 200; ++i) fresh.push_back(distance(at::randn({N, D})));
  const double spread = at::tensor(fresh, at::kDouble).std().item<double>();
  const at::Tensor x = at::randn({N, D});
  int calls = 0;
  const BootstrapInterval interval =
      bootstrap_interval(x, reference, CovarianceDivisor::kCountMinusOne, distance(x), 200, 1, [&] { ++calls; });
  EXPECT_EQ(calls, 200);
  EXPECT_NEAR(interval.deviation, spread, 0.3 * spread);
  EXPECT_LT(interval.low, distance(x));
  EXPECT_GT(interval.high, distance(x));
  EXPECT_NEAR(interval.high - interval.low, 3.92 * spread, 1.2 * spread);
}

}  // namespace
}  // namespace tessera
