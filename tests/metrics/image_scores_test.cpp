#include "metrics/image_scores.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "media/image_io.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

/// Two sets of pictures, and a small network in Inception's place.
class ImageScoresTest : public testing::Test {
 protected:
  ImageScoresTest() {
    at::manual_seed(3);
    for (const char* name : {"a/cat", "a/dog", "b/cat", "b/dog"}) {
      std::filesystem::create_directories(folder / name);
      for (int i = 0; i < 6; ++i)
        write_png(folder / name / (std::to_string(i) + ".png"), at::randint(256, {20, 20, 3}, at::kByte));
    }
    request.generated = (folder / "a").string();
    request.reference = (folder / "b").string();
    request.network.extractor =
        (std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/torchscript/means.pt").string();
    request.device = "cpu";
  }

  test::TemporaryFolder folder;
  ImageScoreRequest request;
  std::vector<std::string> notes;
  ScoreListener listener{.on_note = [this](const std::string& text) { notes.push_back(text); }};
};

TEST_F(ImageScoresTest, OneCallGivesAllScoresAndTheirCircumstances) {
  request.metrics = {.names = {"prdc", "fid", "kid"}, .bootstrap = 3, .per_class = true};
  const std::optional<ImageScores> found = score_images(request, listener);
  ASSERT_TRUE(found);
  std::vector<std::string> keys;
  for (const MetricScore& score : found->scores) keys.push_back(score.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"fid", "fid_interval_95", "kid", "prdc", "classes"}));
  EXPECT_EQ(found->generated.count(), 12);
  EXPECT_EQ(found->protocol->name, "pytorch-fid");
  EXPECT_FALSE(found->network.is_standard);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("a has 12 images"), std::string::npos) << notes[0];
}

TEST_F(ImageScoresTest, KeptStatisticsGiveTheSameDistance) {
  const double direct = score_images(request, {})->scores.front().json;
  ImageScoreRequest keep = request;
  keep.generated = request.reference;
  keep.reference.clear();
  keep.save_stats = (folder / "b.npz").string();
  EXPECT_FALSE(score_images(keep, {}));
  request.reference = keep.save_stats;
  const std::optional<ImageScores> kept = score_images(request, listener);
  EXPECT_NEAR(kept->scores.front().json.get<double>(), direct, 1e-9 * direct);
  EXPECT_TRUE(kept->reference.is_statistics);
  request.metrics.names = {"kid"};
  EXPECT_THROW(score_images(request, {}), Error);
}

TEST_F(ImageScoresTest, AnAbsentExtractorIsNamedAsWrongUse) {
  request.network.extractor = (folder / "absent.pt").string();
  EXPECT_EQ(test::coded_error_of([&] { score_images(request, {}); }),
            "2: no file " + request.network.extractor + "; want a TorchScript program");
}

}  // namespace
}  // namespace tessera
