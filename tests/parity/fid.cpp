#include <algorithm>
#include <cstdio>

#include "metrics/frechet.h"
#include "metrics/inception_score.h"
#include "metrics/kid.h"
#include "metrics/neighbors.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

/// A distance of a set to itself as the tools leave it: rounding, of either sign, around the 0 that this program gives.
double not_negative(double recorded) {
  return std::max(recorded, 0.0);
}

class Fid : public testing::Test {
 protected:
  test::Fixture fixture{"fid"};
  const nlohmann::json& results = fixture.config.at("results");

  /// The cases that compare two feature sets, "full", "deficient", "same", with their expected scores.
  std::vector<std::pair<std::string, nlohmann::json>> cases() const {
    std::vector<std::pair<std::string, nlohmann::json>> list;
    for (const auto& [name, expected] : results.items())
      if (expected.contains("fid_pytorch_fid")) list.emplace_back(name, expected);
    return list;
  }
  Gaussian gaussian(const std::string& name) const {
    const at::Tensor& features = fixture[name];
    FeatureStatistics statistics(features.size(1));
    for (const at::Tensor& part : features.split(37)) statistics.add(part);
    return statistics.gaussian(CovarianceDivisor::kCountMinusOne);
  }
};

TEST_F(Fid, MeanAndCovariance) {
  const Gaussian a = gaussian("full.a");
  EXPECT_CLOSE(a.mean, fixture["full.mu_a"], 1e-12);
  EXPECT_CLOSE(a.covariance, fixture["full.sigma_a"], 1e-12);
}

TEST_F(Fid, Distance) {
  ASSERT_GE(cases().size(), 3u);
  for (const auto& [name, expected] : cases()) {
    const double exact = not_negative(expected.at("fid_exact_float64"));
    const double theirs = not_negative(expected.at("fid_pytorch_fid"));
    const Gaussian a = gaussian(name + ".a"), b = gaussian(name + ".b");
    const bool deficient = fixture[name + ".a"].size(0) <= a.mean.numel();
    const double got = frechet_distance(a, b);
    EXPECT_GE(got, 0) << name;
    EXPECT_NEAR(got, exact, exact * 1e-9 + 1e-9) << name;
    EXPECT_NEAR(got, theirs, theirs * (deficient ? 1e-4 : 1e-6) + 1e-9) << name;
    EXPECT_NEAR(frechet_distance(b, a), got, got * 1e-9 + 1e-9) << name;
  }
}

TEST_F(Fid, DistanceWithoutKnowingTheCounts) {
  for (const auto& [name, expected] : cases()) {
    Gaussian a = gaussian(name + ".a"), b = gaussian(name + ".b");
    a.count.reset(), b.count.reset();
    const double exact = not_negative(expected.at("fid_exact_float64"));
    EXPECT_NEAR(frechet_distance(a, b), exact, exact * 1e-6 + 1e-9) << name;
  }
}

TEST_F(Fid, KernelDistance) {
  for (const auto& [name, expected] : cases()) {
    const at::Tensor &a = fixture[name + ".a"], &b = fixture[name + ".b"];
    const int64_t first = expected.at("kid_all_first_n");
    EXPECT_NEAR(polynomial_mmd(a.slice(0, 0, first), b.slice(0, 0, first)), expected.at("kid_all").get<double>(), 1e-5)
        << name;
    const at::Tensor &rows_a = fixture[name + ".kid_idx_a"], &rows_b = fixture[name + ".kid_idx_b"];
    std::vector<double> values;
    for (int64_t i = 0; i < rows_a.size(0); ++i)
      values.push_back(polynomial_mmd(a.index_select(0, rows_a[i]), b.index_select(0, rows_b[i])));
    const at::Tensor all = at::tensor(values, at::kDouble);
    EXPECT_NEAR(all.mean().item<double>(), expected.at("kid_subsets_mean").get<double>(), 1e-5) << name;
    EXPECT_NEAR(all.std(false).item<double>(), expected.at("kid_subsets_std").get<double>(), 1e-5) << name;
  }
}

TEST_F(Fid, PrecisionAndRecall) {
  for (const auto& [name, expected] : cases()) {
    for (const int64_t k : {3, 5}) {
      const nlohmann::json& want = expected.at("prc_k" + std::to_string(k));
      const NeighborScores got = neighbor_scores(fixture[name + ".a"], fixture[name + ".b"], k);
      EXPECT_NEAR(got.precision, want.at("precision").get<double>(), 1e-6) << name << " k " << k;
      EXPECT_NEAR(got.recall, want.at("recall").get<double>(), 1e-6) << name << " k " << k;
      EXPECT_NEAR(got.f_score, want.at("f_score").get<double>(), 1e-6) << name << " k " << k;
    }
  }
}

TEST_F(Fid, InceptionScore) {
  const nlohmann::json& isc = results.at("isc");
  for (const auto& [name, want] : isc.items()) {
    int splits = 0, shuffle = 0;
    ASSERT_EQ(std::sscanf(name.c_str(), "splits%d_shuffle%d", &splits, &shuffle), 2) << name;
    at::Tensor logits = fixture["logits"];
    if (shuffle) logits = logits.index_select(0, fixture["isc_perm"]);
    const ScoreSpread got = inception_score(logits, splits, std::nullopt);
    const double mean = want.at("inception_score_mean");
    EXPECT_NEAR(got.mean, mean, 1e-6 * mean) << name;
    EXPECT_NEAR(got.deviation, want.at("inception_score_std").get<double>(), 1e-6 * mean) << name;
  }
}

}  // namespace
}  // namespace tessera
