#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "metrics/statistics_file.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

const std::filesystem::path kData = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/pickles";

// made by tests/data/pickles/make.py
TEST(PickledStatistics, OfEdm2ByName) {
  const StatisticsFile fid = read_statistics(kData / "edm2.pkl");
  EXPECT_TRUE(fid.gaussian.mean.equal(at::tensor({1.0, 2.0, 3.0}, at::kDouble)));
  EXPECT_TRUE(fid.gaussian.covariance.equal(at::tensor({4.0, 1.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 2.0}).view({3, 3})));
  EXPECT_FALSE(fid.gaussian.count.has_value());
  EXPECT_TRUE(fid.made_by.empty());
  EXPECT_EQ(fid.keys, "fid.mu, fid.sigma");
  const StatisticsFile dino = read_statistics(kData / "edm2.pkl", {.key = "fd_dinov2"});
  EXPECT_TRUE(dino.gaussian.mean.equal(at::tensor({5.0, 6.0}, at::kDouble)));
  EXPECT_EQ(dino.keys, "fd_dinov2.mu, fd_dinov2.sigma");
  EXPECT_ERROR(read_statistics(kData / "edm2.pkl", {.key = "dino"}), "edm2.pkl", "--stats-key", "\"dino\"",
               "\"fid\", \"fd_dinov2\"");
  EXPECT_ERROR(read_statistics(kData / "edm2.pkl", {.usual = ""}), "several", "--stats-key", "\"fd_dinov2\"");
  EXPECT_ERROR(read_statistics(kData / "two_others.pkl"), "several", "--stats-key");
  EXPECT_EQ(read_statistics(kData / "flat.pkl").keys, "mu, sigma");
}

TEST(PickledStatistics, OfStyleGanAreSums) {
  const StatisticsFile file = read_statistics(kData / "stylegan.pkl");  // the rows (0, 0), (2, 0), (0, 4), (2, 4)
  EXPECT_TRUE(file.gaussian.mean.equal(at::tensor({1.0, 2.0}, at::kDouble)));
  EXPECT_TRUE(file.gaussian.covariance.equal(at::tensor({1.0, 0.0, 0.0, 4.0}, at::kDouble).view({2, 2})));
  EXPECT_EQ(file.gaussian.count, 4);
  EXPECT_EQ(file.keys, "raw_mean, raw_cov, num_items (over N)");
}

TEST(PickledStatistics, WhatHoldsNoneIsRefused) {
  EXPECT_ERROR(read_statistics(kData / "no_statistics.pkl"), "no_statistics.pkl", "mu and sigma", "\"weights\"");
  EXPECT_ERROR(read_statistics(kData / "stylegan_features.pkl"), "raw_mean", "None");
  EXPECT_ERROR(read_statistics(kData / "wrong_length.pkl"), "sigma [3, 3]", "[4, 4]");
  EXPECT_ERROR(read_statistics(kData / "objects.pkl"), "mu", "numpy");
  EXPECT_ERROR(read_statistics(kData / "half.pkl"), "mu [2]", "Half");
  EXPECT_ERROR(read_statistics(kData / "evil.pkl"), "nothing was run");
}

}  // namespace
}  // namespace tessera
