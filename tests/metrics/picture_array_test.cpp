#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "media/image_io.h"
#include "metrics/array_file.h"
#include "metrics/image_features.h"
#include "metrics/torchscript_extractor.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "weights/npz.h"

namespace tessera {
namespace {

const std::filesystem::path kMeans = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/torchscript/means.pt";

FeatureStatistics measure(const std::filesystem::path& path, const ArrayForm& form = {}) {
  const TorchScriptExtractor network(kMeans, "", "", {1, 3, 299, 299});
  const ImageSetOptions options{.arrays = form};
  return measure_images(find_images(path), network, find_protocol("pytorch-fid"), options, [](int64_t) {}).all;
}

/// The pictures of one array in a file of its own.
at::Tensor read_all(const std::filesystem::path& path, const ArrayForm& form = {}) {
  PictureArray pictures(path, "arr_0", form);
  std::vector<at::Tensor> all;
  for (int64_t i = 0; i < pictures.count(); ++i) all.push_back(pictures.next());
  return at::stack(all);
}

TEST(PictureArray, EqualsItsPicturesAsFiles) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "pictures");
  at::manual_seed(1);
  const at::Tensor pictures = at::randint(256, {7, 12, 10, 3}, at::kByte);
  for (int64_t i = 0; i < pictures.size(0); ++i)
    write_png(folder / "pictures" / (std::to_string(i) + ".png"), pictures[i]);
  write_npz(folder / "samples.npz", {{"arr_0", pictures}, {"arr_1", at::zeros({7}, at::kLong)}});
  const FeatureStatistics files = measure(folder / "pictures"), array = measure(folder / "samples.npz");
  EXPECT_EQ(array.count(), 7);
  EXPECT_TRUE(array.mean().equal(files.mean()));
  EXPECT_TRUE(
      array.gaussian(CovarianceDivisor::kCount).covariance.equal(files.gaussian(CovarianceDivisor::kCount).covariance));
}

TEST(PictureArray, LayoutIsSeenOrSaid) {
  const test::TemporaryFolder folder;
  at::manual_seed(2);
  const auto written = [&](const at::Tensor& array) {
    write_npz(folder / "x.npz", {{"arr_0", array}});
    return folder / "x.npz";
  };
  const at::Tensor last = at::randint(256, {2, 5, 4, 3}, at::kByte), first = last.permute({0, 3, 1, 2});
  EXPECT_TRUE(read_all(written(last)).equal(last));
  EXPECT_TRUE(read_all(written(first)).equal(last));
  EXPECT_TRUE(read_all(written(first), {.layout = "nchw"}).equal(last));
  EXPECT_ERROR(read_all(written(first), {.layout = "nhwc"}), "want pictures, [N, H, W, 3]", "[2, 3, 5, 4]");
  EXPECT_ERROR(read_all(written(last), {.layout = "nchw"}), "want pictures, [N, 3, H, W]", "[2, 5, 4, 3]");
  const at::Tensor both = at::randint(256, {2, 3, 4, 3}, at::kByte);
  EXPECT_ERROR(read_all(written(both)), "x.npz", "\"arr_0\"", "--array-layout nhwc or nchw");
  EXPECT_TRUE(read_all(written(both), {.layout = "nhwc"}).equal(both));
  EXPECT_TRUE(read_all(written(both), {.layout = "nchw"}).equal(both.permute({0, 2, 3, 1})));
}

TEST(PictureArray, RangeMustBeSaidUnlessItIsBytes) {
  const test::TemporaryFolder folder;
  const at::Tensor levels = at::arange(256, at::kByte).view({1, 16, 16, 1}).expand({1, 16, 16, 3});
  const auto written = [&](const at::Tensor& array) {
    write_npz(folder / "x.npz", {{"arr_0", array}});
    return folder / "x.npz";
  };
  const at::Tensor wide = levels.to(at::kFloat);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    EXPECT_TRUE(read_all(written(wide.to(dtype)), {.range = "0..255"}).equal(levels));
    EXPECT_TRUE(read_all(written(wide.to(dtype) / 255), {.range = "0..1"}).equal(levels));
    EXPECT_TRUE(read_all(written(wide.to(dtype) / 127.5 - 1), {.range = "-1..1"}).equal(levels));
  }
  EXPECT_TRUE(read_all(written(levels.to(at::kInt)), {.range = "0..255"}).equal(levels));
  EXPECT_TRUE(read_all(written(levels), {.range = "0..255"}).equal(levels));
  EXPECT_EQ(read_all(written(at::full({1, 1, 1, 3}, 0.5)), {.range = "0..1"}).max().item<int>(), 128) << "the nearest";
  EXPECT_ERROR(read_all(written(wide)), "x.npz", "<f4", "--array-range (0..255, 0..1, -1..1)");
  EXPECT_ERROR(read_all(written(levels.to(at::kInt))), "<i4", "--array-range");
  EXPECT_ERROR(read_all(written(levels), {.range = "0..1"}), "whole numbers", "0..255, not 0..1");
  EXPECT_ERROR(read_all(written(wide), {.range = "0..1"}), "picture 0 has values from 0 to 255, want 0 to 1");
  EXPECT_ERROR(read_all(written(wide / 255 - 1), {.range = "0..1"}), "values from -1 to 0");
  const at::Tensor nan = at::full({1, 2, 2, 3}, std::numeric_limits<double>::quiet_NaN());
  EXPECT_ERROR(read_all(written(nan), {.range = "0..1"}), "picture 0", "nan");
  EXPECT_ERROR(read_all(written(levels > 3)), "pictures of uint8 or floats");
}

TEST(PictureArray, BareBigEndianAndFortranArraysAreTheSamePictures) {
  const test::TemporaryFolder folder;
  // made by tests/data/npz/make.py: np.arange(24) as uint8 [2, 2, 2, 3], in C and in Fortran order, and as >f4 / 255
  const at::Tensor want = at::arange(24, at::kByte).view({2, 2, 2, 3});
  const std::filesystem::path data = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/npz";
  EXPECT_TRUE(read_all(data / "pictures.npy").equal(want));
  EXPECT_TRUE(read_all(data / "pictures_fortran.npy").equal(want));
  EXPECT_TRUE(read_all(data / "pictures_float_big.npy", {.range = "0..1"}).equal(want));
  EXPECT_EQ(measure(data / "pictures.npy").count(), 2);
}

TEST(PictureArray, WhatIsNoPictureIsRefused) {
  const test::TemporaryFolder folder;
  for (const at::Tensor& array :
       {at::zeros({2, 4, 4}, at::kByte), at::zeros({2, 4, 4, 1}, at::kByte), at::zeros({2, 0, 4, 3}, at::kByte),
        at::zeros({0, 4, 4, 3}, at::kByte), at::zeros({1, 4, 4, 3, 1}, at::kByte)}) {
    write_npz(folder / "samples.npz", {{"arr_0", array}});
    EXPECT_NE(test::refusal_of([&] { measure(folder / "samples.npz"); }).find("arr_0"), std::string::npos)
        << array.sizes();
  }
  // A row larger than any picture, which a few bytes of compressed zeros could claim.
  std::string header = make_npy_header("|u1", {1, 1 << 20, 1 << 10, 3});
  test::write_bytes(folder / "large.npy", header);
  std::filesystem::resize_file(folder / "large.npy", header.size() + (uint64_t{3} << 30));
  EXPECT_ERROR(PictureArray(folder / "large.npy", "arr_0", {}), "at most 357913940 pixels");
}

TEST(ArrayFile, WhatIsInItIsKnownByNameAndShape) {
  const test::TemporaryFolder folder;
  const auto held = [&](const std::map<std::string, at::Tensor>& arrays) {
    write_npz(folder / "x.npz", arrays);
    const ArrayFile found = look_into(folder / "x.npz");
    return std::string(found.statistics ? "statistics " : "") + found.pictures + "," + found.features;
  };
  const at::Tensor pictures = at::zeros({2, 4, 4, 3}, at::kByte), rows = at::zeros({4, 6});
  const at::Tensor mu = at::zeros({2}), sigma = at::eye(2), labels = at::zeros({2}, at::kLong);
  for (const char* name : {"arr_0", "images", "samples", "data"})
    EXPECT_EQ(held({{name, pictures}, {"arr_1", labels}}), std::string(name) + ",");
  for (const char* name : {"feats", "features", "reps", "arr_0"})
    EXPECT_EQ(held({{name, rows}}), "," + std::string(name));
  EXPECT_EQ(held({{"mu", mu}, {"sigma", sigma}, {"mu_s", mu}, {"sigma_s", sigma}}), "statistics ,");
  EXPECT_EQ(held({{"mu", mu}, {"sigma", sigma}, {"arr_0", pictures}}), "statistics arr_0,");
  EXPECT_EQ(held({{"mu", mu}, {"sigma", sigma}, {"data", labels}}), "statistics ,");
  EXPECT_EQ(held({{"mu_s", mu}, {"sigma_s", sigma}, {"arr_0", pictures}}), "arr_0,");
  EXPECT_ERROR(held({{"mu_s", mu}, {"sigma_s", sigma}}), "x.npz", "want statistics", "\"mu_s\", \"sigma_s\"");
  EXPECT_ERROR(held({{"images", pictures}, {"samples", pictures}}), "\"images\" and \"samples\"");
  EXPECT_FALSE(is_array_file(folder / "absent.npz"));
  EXPECT_FALSE(is_array_file(folder.path()));
}

}  // namespace
}  // namespace tessera
