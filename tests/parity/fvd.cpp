#include <cmath>

#include "core/sha256.h"
#include "metrics/frechet.h"
#include "metrics/torchscript_extractor.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

class Fvd : public testing::Test {
 protected:
  test::Fixture fixture{"fvd"};
  const int64_t frames = fixture.config.at("num_frames");

  TorchScriptExtractor extractor() const {
    const at::Tensor& clips = fixture["real"];  // [N, T, C, H, W]
    return {fixture.folder / "i3d_tiny.pt", "", "", {1, 3, frames, clips.size(3), clips.size(4)}};
  }
  static Gaussian gaussian(const at::Tensor& features) {
    FeatureStatistics statistics(features.size(1));
    for (const at::Tensor& part : features.split(7)) statistics.add(part);
    return statistics.gaussian(CovarianceDivisor::kCount);
  }
  /// uint8 [N, T, C, H, W] -> features, four clips at a time.
  at::Tensor features(const std::string& name) const {
    const TorchScriptExtractor network = extractor();
    std::vector<at::Tensor> parts;
    const at::Tensor all = fixture[name].permute({0, 2, 1, 3, 4});
    const int64_t copies = all.size(1) == 1 ? 3 : 1;  // of the only channel of gray clips
    for (const at::Tensor& clips : all.repeat({1, copies, 1, 1, 1}).split(4))
      parts.push_back(network.features(clips.contiguous()).pool);
    return at::cat(parts);
  }
};

TEST_F(Fvd, Features) {
  EXPECT_EQ(extractor().info().dims, fixture["real_features"].size(1));
  EXPECT_CLOSE(features("real"), fixture["real_features"], 1e-5);
  EXPECT_CLOSE(features("gen"), fixture["gen_features"], 1e-5);
}

TEST_F(Fvd, MeanAndBiasedCovariance) {
  const Gaussian real = gaussian(fixture["real_features"]), a = gaussian(fixture["feat_a"]);
  EXPECT_CLOSE(real.mean, fixture["real_mean"], 1e-10);
  EXPECT_CLOSE(real.covariance, fixture["real_cov"], 1e-10);
  EXPECT_CLOSE(a.mean, fixture["mean_a"], 1e-10);
  EXPECT_CLOSE(a.covariance, fixture["cov_a"], 1e-10);
}

TEST_F(Fvd, Distance) {
  const double exact = fixture.config.at("fvd_exact_float64"), theirs = fixture.config.at("fvd");
  EXPECT_NEAR(frechet_distance(gaussian(features("gen")), gaussian(features("real"))), theirs, 1e-4 * theirs);
  EXPECT_NEAR(frechet_distance(gaussian(fixture["gen_features"]), gaussian(fixture["real_features"])), exact,
              1e-6 * exact);
  const Gaussian real = gaussian(fixture["real_features"]);
  // The reference's own distance of a set to itself is the rounding of its matrix root, on either side of zero.
  const double rounding = 1e-7 * std::max(1.0, real.covariance.trace().item<double>());
  EXPECT_NEAR(frechet_distance(real, real), 0, 1e-9);
  EXPECT_NEAR(fixture.config.value("fvd_same", 0.0), 0, rounding);
  const double features_apart = fixture.config.at("fvd_feat_a_feat_b");
  EXPECT_NEAR(frechet_distance(gaussian(fixture["feat_a"]), gaussian(fixture["feat_b"])), features_apart,
              1e-9 * features_apart);
}

}  // namespace
}  // namespace tessera
