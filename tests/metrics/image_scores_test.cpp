#include "metrics/image_scores.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "media/image_io.h"
#include "media/picture.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "weights/npz.h"

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

/// Pictures in one array, as ADM keeps them.
at::Tensor array_of(const std::filesystem::path& set) {
  std::vector<at::Tensor> pictures;
  for (const ImageSource& source : find_images(set)) pictures.push_back(read_picture(source.path));
  return at::stack(pictures);
}

double score_of(const std::optional<ImageScores>& found, const std::string& key) {
  for (const MetricScore& score : found->scores)
    if (score.key == key) return score.json.is_object() ? score.json.begin().value() : score.json;
  ADD_FAILURE() << "no " << key;
  return 0;
}

TEST_F(ImageScoresTest, AReferenceOfAdmGivesItsStatisticsToFidAndItsPicturesToTheRest) {
  request.metrics.names = {"fid", "kid", "prdc"};
  const auto direct = score_images(request, {});
  const at::Tensor mean = at::arange(6, at::kDouble), covariance = at::eye(6, at::kDouble);
  const std::string file = (folder / "reference.npz").string();
  write_npz(file, {{"arr_0", array_of(folder / "b")},
                   {"mu", mean},
                   {"sigma", covariance},
                   {"mu_s", at::ones({7})},
                   {"sigma_s", at::eye(7)}});
  request.reference = file;
  const auto found = score_images(request, listener);
  EXPECT_DOUBLE_EQ(score_of(found, "fid"), frechet_distance(found->generated.gaussian, {mean, covariance, {}}));
  EXPECT_DOUBLE_EQ(score_of(found, "kid"), score_of(direct, "kid"));
  EXPECT_DOUBLE_EQ(score_of(found, "prdc"), score_of(direct, "prdc"));
  EXPECT_EQ(found->reference.gaussian_from, "mu, sigma");
  EXPECT_EQ(found->reference.features_from, "pictures in arr_0");
  EXPECT_EQ(found->reference.count(), 12);
  EXPECT_TRUE(found->reference.is_statistics);
  // FID alone looks at no picture of it.
  request.metrics.names = {"fid"};
  const auto alone = score_images(request, {});
  EXPECT_FALSE(alone->reference.seconds.has_value());
  EXPECT_EQ(alone->reference.features_from, "");
  // Other scores alone do not look at its statistics, which may be another network's.
  request.metrics.names = {"kid"};
  const std::string narrow = (folder / "narrow.npz").string();
  write_npz(narrow, {{"arr_0", array_of(folder / "b")}, {"mu", at::zeros({2})}, {"sigma", at::eye(2)}});
  request.reference = narrow;
  EXPECT_DOUBLE_EQ(score_of(score_images(request, {}), "kid"), score_of(direct, "kid"));
  // To keep its statistics is to measure the pictures.
  request.generated = narrow;
  request.reference.clear();
  request.save_stats = (folder / "measured.npz").string();
  EXPECT_FALSE(score_images(request, {}));
  EXPECT_EQ(read_statistics(request.save_stats).gaussian.count, 12);
}

TEST_F(ImageScoresTest, KeptFeaturesAreASetWithEqualScores) {
  request.metrics = {.names = {"fid", "kid", "prdc"}, .bootstrap = 3, .infinity = true};
  request.dump_features = (folder / "a.npz").string();
  request.dump_reference_features = (folder / "b.npz").string();
  const auto direct = score_images(request, {});
  const NpzFile kept(request.dump_features);
  EXPECT_EQ(kept.names(), (std::vector<std::string>{"feats", "names", "tessera"}));
  EXPECT_TRUE(kept.read("feats").equal(direct->generated.features));
  EXPECT_EQ(kept.header("names").shape, (std::vector<int64_t>{12}));
  EXPECT_TRUE(test::contains(test::read_text(request.dump_features), std::string("c\0\0\0a\0\0\0t\0\0\0/", 13)));
  ImageScoreRequest again = request;
  again.dump_features.clear(), again.dump_reference_features.clear();
  again.generated = request.dump_features;
  again.reference = request.dump_reference_features;
  const auto found = score_images(again, listener);
  for (size_t i = 0; i < direct->scores.size(); ++i) {
    const auto wanted = direct->scores[i].json.flatten(), got = found->scores[i].json.flatten();
    for (const auto& [key, value] : wanted.items())
      EXPECT_NEAR(got.at(key).get<double>(), value.get<double>(), 1e-9 * std::abs(value.get<double>()))
          << direct->scores[i].key << key;
  }
  EXPECT_EQ(found->generated.gaussian_from, "features in feats");
  EXPECT_EQ(found->generated.count(), 12);
  // Statistics can be made of it, and they say how the features were made.
  again.generated = request.dump_features;
  again.reference.clear();
  again.save_stats = (folder / "statistics.npz").string();
  EXPECT_FALSE(score_images(again, {}));
  EXPECT_EQ(read_statistics(again.save_stats).made_by.at("extractor-size"), "299");
  again.save_stats.clear();
  again.dump_features = (folder / "c.npz").string();
  EXPECT_ERROR(score_images(again, {}), "--dump-features", "a file of features already");
}

TEST_F(ImageScoresTest, FilesMadeAnotherWayAreRefused) {
  ImageScoreRequest keep = request;
  keep.generated = (folder / "b").string();
  keep.reference.clear();
  keep.save_stats = (folder / "b.npz").string();
  keep.dump_features = (folder / "b_features.npz").string();
  keep.network.extractor_side = 64;
  EXPECT_FALSE(score_images(keep, {}));
  for (const std::string& file : keep.kept_files()) {
    request.reference = file;
    request.network.extractor_side = 299;
    EXPECT_ERROR(score_images(request, {}), file, "extractor-size 64, this run uses 299");
    request.network.extractor_side = 64;
    const auto found = score_images(request, {});
    EXPECT_EQ(found->network.side, 64);
    request.protocol = "clean";
    EXPECT_ERROR(score_images(request, {}), "protocol pytorch-fid, this run uses clean");
    request.protocol = "pytorch-fid";
  }
  EXPECT_EQ(read_statistics(keep.save_stats).made_by.at("resize"),
            "bilinear 64x64, centers aligned, no antialiasing (torch)");
  // Rounded otherwise: an error where the run could have chosen the same.
  StatisticsFile rounded = read_statistics(keep.save_stats);
  rounded.made_by["dtype"] = "bfloat16";
  write_statistics(folder / "rounded.npz", rounded);
  request.generated = keep.save_stats;
  request.reference = (folder / "rounded.npz").string();
  EXPECT_ERROR(score_images(request, {}), "float32", "bfloat16", "--dtype");
  request.generated = (folder / "a").string();
  EXPECT_TRUE(score_images(request, listener));  // a TorchScript network has one dtype
  EXPECT_TRUE(test::contains(notes.front(), "rounding")) << notes.front();
  request.dtype = "fp32";
  EXPECT_ERROR(score_images(request, {}), "use the same --dtype");
}

TEST_F(ImageScoresTest, WrongRequestsAreOneLine) {
  ImageScoreRequest bad = request;
  bad.stats_key = "fid";
  EXPECT_ERROR(score_images(bad, {}), "--stats-key", "neither set is one");
  bad = request;
  bad.dump_features = (folder / "x.txt").string();
  EXPECT_ERROR(score_images(bad, {}), "--dump-features wants a name ending in .npz");
  bad.reference.clear(), bad.dump_features.clear();
  EXPECT_ERROR(score_images(bad, {}), "want two sets", "--dump-features");
  bad.dump_reference_features = (folder / "x.npz").string();
  EXPECT_ERROR(score_images(bad, {}), "--dump-reference-features", "there is one");
  // What is no covariance is known before a network runs.
  write_npz(folder / "no.npz", {{"mu", at::zeros({2}, at::kDouble)},
                                {"sigma", at::tensor({1.0, 2.0, 2.0, 1.0}, at::kDouble).view({2, 2})}});
  bad = request;
  bad.reference = (folder / "no.npz").string();
  bad.network.extractor = "absent.pt";
  EXPECT_ERROR(score_images(bad, {}), "no.npz", "eigenvalue -1");
  write_npz(folder / "nan.npz", {{"feats", at::full({3, 6}, std::numeric_limits<double>::infinity())}});
  bad.reference = (folder / "nan.npz").string();
  EXPECT_ERROR(score_images(bad, {}), "nan.npz", "feats", "NaN or infinity");
}

TEST_F(ImageScoresTest, AnAbsentExtractorIsNamedAsWrongUse) {
  request.network.extractor = (folder / "absent.pt").string();
  EXPECT_EQ(test::coded_error_of([&] { score_images(request, {}); }),
            "2: no file " + request.network.extractor + "; want a TorchScript program");
}

}  // namespace
}  // namespace tessera
