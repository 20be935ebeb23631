#include "metrics/statistics_file.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/error.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"
#include "weights/npz.h"

namespace tessera {
namespace {

TEST(StatisticsFile, ReadsPytorchFids) {
  const test::Fixture fixture("fid");
  const StatisticsFile file = read_statistics(fixture.folder / "stats_full_b.npz");
  const at::Tensor b = fixture["full.b"].to(at::kDouble);
  EXPECT_CLOSE(file.gaussian.mean, b.mean(0), 1e-12);
  EXPECT_CLOSE(file.gaussian.covariance, at::cov(b.t()), 1e-12);
  EXPECT_FALSE(file.gaussian.count.has_value());
  EXPECT_TRUE(file.made_by.empty());
  EXPECT_FALSE(check_comparable(file, "b.npz", b.size(1), {{"protocol", "clean"}}));
  EXPECT_THROW(check_comparable(file, "b.npz", b.size(1) + 1, {}), Error);
}

TEST(StatisticsFile, RoundTripKeepsEveryBit) {
  const test::TemporaryFolder folder;
  FeatureStatistics statistics(4);
  at::manual_seed(1);
  statistics.add(at::randn({9, 4}));
  const Gaussian gaussian = statistics.gaussian(CovarianceDivisor::kCountMinusOne);
  write_statistics(folder / "s.npz",
                   {gaussian, {{"protocol", "clean"}, {"dtype", "float32"}, {"file", "caf\xc3\xa9"}}});
  const StatisticsFile again = read_statistics(folder / "s.npz");
  EXPECT_TRUE(again.gaussian.mean.equal(gaussian.mean));
  EXPECT_TRUE(again.gaussian.covariance.equal(gaussian.covariance));
  EXPECT_EQ(again.gaussian.count, 9);
  EXPECT_EQ(again.made_by.at("file"), "caf\xc3\xa9");
  EXPECT_TRUE(check_comparable(again, "s.npz", 4, {{"protocol", "clean"}, {"dtype", "bfloat16"}, {"weights", "abc"}}));
  try {
    check_comparable(again, "s.npz", 4, {{"protocol", "pytorch-fid"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("s.npz was made with protocol clean, this run uses pytorch-fid"),
              std::string::npos)
        << error.what();
  }
}

TEST(StatisticsFile, ANameThatIsNoUtf8CanBeRecorded) {
  const test::TemporaryFolder folder;
  write_statistics(folder / "s.npz",
                   {{at::zeros({2}, at::kDouble), at::eye(2, at::kDouble), {}}, {{"source", "a\xff"}}});
  EXPECT_EQ(read_statistics(folder / "s.npz").made_by.at("source"), "a\xef\xbf\xbd");
}

TEST(StatisticsFile, OtherToolsArraysAndTypes) {
  const test::TemporaryFolder folder;
  const at::Tensor mean = at::ones({3}), covariance = at::eye(3);
  // ADM's evaluator keeps spatial statistics beside the usual ones.
  write_npz(folder / "adm.npz", {{"mu", mean},
                                 {"sigma", covariance},
                                 {"mu_s", at::ones({7})},
                                 {"sigma_s", at::eye(7)},
                                 {"count", at::tensor(int64_t{1})}});
  const StatisticsFile adm = read_statistics(folder / "adm.npz");
  EXPECT_EQ(adm.gaussian.covariance.scalar_type(), at::kDouble);
  EXPECT_FALSE(adm.gaussian.count.has_value()) << "a count in an ADM file must not limit the rank";
  EXPECT_EQ(adm.gaussian.mean.numel(), 3) << "not the spatial ones";
  EXPECT_EQ(adm.keys, "mu, sigma");
}

TEST(StatisticsFile, RefusesWhatHoldsNoStatistics) {
  const test::TemporaryFolder folder;
  const at::Tensor mean = at::ones({3}, at::kDouble), covariance = at::eye(3, at::kDouble);
  at::Tensor bad = covariance.clone();
  bad[1][1] = std::numeric_limits<double>::quiet_NaN();
  at::Tensor crooked = covariance.clone(), negative = covariance.clone();
  crooked[0][1] = 0.5, negative[2][2] = -0.1;
  const std::vector<std::map<std::string, at::Tensor>> cases{
      {{"arr_0", at::zeros({2, 4, 4, 3}, at::kByte)}},
      {{"mu", mean}},
      {{"mu", mean}, {"sigma", at::eye(4, at::kDouble)}},
      {{"mu", covariance}, {"sigma", covariance}},
      {{"mu", at::ones({0}, at::kDouble)}, {"sigma", at::ones({0, 0}, at::kDouble)}},
      {{"mu", at::ones({3}, at::kLong)}, {"sigma", covariance}},
      {{"mu", at::zeros({20000})}, {"sigma", covariance}},
      {{"mu", mean}, {"sigma", bad}},
      {{"mu", mean}, {"sigma", crooked}},
      {{"mu", mean}, {"sigma", negative}},
      {{"mu", mean.to(at::kHalf)}, {"sigma", covariance}}};
  for (size_t i = 0; i < cases.size(); ++i) {
    write_npz(folder / "bad.npz", cases[i]);
    try {
      read_statistics(folder / "bad.npz");
      ADD_FAILURE() << i;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("bad.npz"), std::string::npos) << error.what();
    }
  }
}

TEST(StatisticsFile, WhatChangesFeaturesMustAgree) {
  const MadeBy run{{"protocol", "clean"},
                   {"extractor", "TorchScript program a.pt"},
                   {"weights", "abc"},
                   {"extractor-size", "64"},
                   {"dtype", "float32"}};
  EXPECT_FALSE(check_made_by({}, "s.npz", run));
  EXPECT_FALSE(check_made_by({{"source", "photos"}}, "s.npz", run)) << "nothing that could differ";
  EXPECT_TRUE(check_made_by(run, "s.npz", run));
  for (const char* key : {"protocol", "weights", "extractor-size"}) {
    MadeBy other = run;
    other[key] = "96";
    EXPECT_ERROR(check_made_by(other, "s.npz", run), "s.npz was made with " + std::string(key) + " 96, this run uses");
  }
  MadeBy renamed = run;
  renamed["extractor"] = "TorchScript program b.pt";
  EXPECT_TRUE(check_made_by(renamed, "s.npz", run)) << "the same bytes under another name";
  renamed.erase("weights");
  EXPECT_ERROR(check_made_by(renamed, "s.npz", run), "extractor TorchScript program b.pt");
}

}  // namespace
}  // namespace tessera
