#include "metrics/torchscript_extractor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/sha256.h"
#include "metrics/weights_cache.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

const std::filesystem::path kPrograms = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/torchscript";

void expect_refused(const std::filesystem::path& path, const std::string& part, at::IntArrayRef shape = {2, 3, 8, 8}) {
  EXPECT_ERROR(TorchScriptExtractor(path, "", "", {1, 3, 8, 8}).features(at::ones(shape)), part,
               path.filename().string());
}

TEST(TorchScriptExtractor, PicturesAndVideos) {
  const TorchScriptExtractor pictures(kPrograms / "means.pt", "abc", "", {1, 3, 8, 8});
  EXPECT_EQ(pictures.info().dims, 6);
  EXPECT_EQ(pictures.info().sha256, "abc");
  EXPECT_EQ(pictures.info().name, "TorchScript program means.pt");
  EXPECT_FALSE(pictures.info().is_standard);
  const at::Tensor x = at::arange(2 * 3 * 4, at::kFloat).view({2, 3, 2, 2});
  EXPECT_TRUE(pictures.features(x).pool.equal(
      at::tensor({1.5f, 5.5f, 9.5f, 3.f, 7.f, 11.f, 13.5f, 17.5f, 21.5f, 15.f, 19.f, 23.f}).view({2, 6})));
  EXPECT_FALSE(pictures.features(x).logits.defined());
  const TorchScriptExtractor videos(kPrograms / "means.pt", "", "I3D", {1, 3, 4, 8, 8});
  EXPECT_EQ(videos.features(at::full({1, 3, 4, 5, 7}, 9, at::kByte)).pool[0][0].item<float>(), 9.f);
  EXPECT_EQ(videos.info().name, "I3D");
  EXPECT_TRUE(videos.info().is_standard);
}

TEST(TorchScriptExtractor, ContractsAreChecked) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "text.pt") << "no archive";
  expect_refused(folder / "text.pt", "TorchScript program");
  expect_refused(folder / "absent.pt", "TorchScript program");
  expect_refused(kPrograms / "tuple.pt", "got a Tuple");
  expect_refused(kPrograms / "flat.pt", "[1, D]");
  expect_refused(kPrograms / "nan.pt", "NaN");
  expect_refused(kPrograms / "other_argument.pt", "temperature");
  expect_refused(kPrograms / "only_large.pt", "32 wide at least");
}

TEST(WeightsCache, SaysWhatIsMissingAndWhereItBelongs) {
  const test::TemporaryFolder folder;
  const PublishedWeights wanted{
      "the network", {"net.pt", "old-net.pt"}, "from its authors", sha256("\x80right"), "--net FILE"};
  setenv("TESSERA_CACHE", folder.path().c_str(), 1);
  setenv("TORCH_HOME", (folder / "torch").c_str(), 1);
  EXPECT_ERROR(find_weights(wanted, ""), "net.pt", "from its authors", wanted.sha256, (folder / "weights").string(),
               "--net FILE");
  std::filesystem::create_directories(folder / "torch/hub/checkpoints");
  std::ofstream(folder / "torch/hub/checkpoints/old-net.pt") << "\x80wrong";
  EXPECT_FALSE(find_weights(wanted, "").published);
  std::filesystem::create_directories(folder / "weights");
  std::ofstream(folder / "weights/net.pt") << "\x80right";
  EXPECT_TRUE(find_weights(wanted, "").published);
  EXPECT_EQ(find_weights(wanted, "").path, folder / "weights/net.pt");
  EXPECT_EQ(find_weights(wanted, (folder / "torch/hub/checkpoints/old-net.pt").string()).sha256, sha256("\x80wrong"));
  EXPECT_THROW(find_weights(wanted, (folder / "nothing").string()), Error);
  std::ofstream(folder / "page.pt") << "wrong";
  EXPECT_ERROR(find_weights(wanted, (folder / "page.pt").string()), "page.pt is not the network; it is text");
  unsetenv("TESSERA_CACHE");
  unsetenv("TORCH_HOME");
}

}  // namespace
}  // namespace tessera
