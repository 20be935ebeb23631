#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "media/image_io.h"
#include "metrics/image_features.h"
#include "metrics/torchscript_extractor.h"
#include "tests/support/process.h"
#include "weights/npz.h"

namespace tessera {
namespace {

const std::filesystem::path kMeans = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/torchscript/means.pt";

FeatureStatistics measure(const std::filesystem::path& path) {
  const TorchScriptExtractor network(kMeans, "", "", {1, 3, 299, 299});
  return measure_images(find_images(path), network, find_protocol("pytorch-fid"), {}, [](int64_t) {}).all;
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

TEST(PictureArray, OnlyBytesOfColorPicturesAreTaken) {
  const test::TemporaryFolder folder;
  for (const at::Tensor& array : {at::zeros({2, 4, 4, 3}), at::zeros({2, 4, 4}, at::kByte),
                                  at::zeros({2, 3, 4, 4}, at::kByte), at::zeros({2, 0, 4, 3}, at::kByte)}) {
    write_npz(folder / "samples.npz", {{"arr_0", array}});
    try {
      measure(folder / "samples.npz");
      ADD_FAILURE() << array.sizes();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("arr_0"), std::string::npos) << error.what();
    }
  }
  write_npz(folder / "statistics.npz", {{"mu", at::zeros({2})}});
  EXPECT_FALSE(is_picture_array(folder / "statistics.npz"));
  EXPECT_FALSE(is_picture_array(folder / "absent.npz"));
}

}  // namespace
}  // namespace tessera
