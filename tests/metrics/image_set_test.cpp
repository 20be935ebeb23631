#include "metrics/image_set.h"

#include <ATen/ATen.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>

#include "media/image_io.h"
#include "metrics/image_features.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/without_root.h"

namespace tessera {
namespace {

using test::refusal_of;
using test::TemporaryFolder;

void touch(const std::filesystem::path& path, const std::string& text = "x") {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

void paint(const std::filesystem::path& path, int64_t height, int64_t width, int value) {
  write_png(path, at::full({height, width, 3}, value, at::kByte));
}

/// The mean color of a picture, and its square.
class MeanExtractor : public Extractor {
 public:
  Features features(const at::Tensor& pixels) const override {
    const at::Tensor mean = pixels.mean({1, 2, 3});
    calls += 1;
    return {at::stack({mean, mean * mean}, 1), {}};
  }
  const ExtractorInfo& info() const override { return info_; }
  mutable int calls = 0;

 private:
  ExtractorInfo info_{"mean", "", "float32", 2, 8, false};
};

ImageFeatures measure(const std::filesystem::path& path, ImageSetOptions options, const Extractor& extractor) {
  options.side = 8;
  return measure_images(find_images(path), extractor, find_protocol("pytorch-fid"), options, [](int64_t) {});
}

TEST(ImageSet, FoldersAreReadThroughInOrderOfPath) {
  const TemporaryFolder folder;
  for (const char* name : {"b.PNG", "a/z.jpg", "a/deep/y.webp", "a.txt", ".hidden.png", ".cache/x.png", "c.mp4"})
    touch(folder / name);
  const std::vector<ImageSource> found = find_images(folder.path());
  ASSERT_EQ(found.size(), 4u);
  const char* names[] = {"a/deep/y.webp", "a/z.jpg", "b.PNG", "c.mp4"};
  const char* labels[] = {"a", "a", "", ""};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(found[i].path, folder / names[i]);
    EXPECT_EQ(found[i].label, labels[i]);
    EXPECT_EQ(found[i].is_video, i == 3);
  }
}

TEST(ImageSet, WhatAFolderHoldsBesidesIsCounted) {
  const TemporaryFolder folder;
  for (const char* name : {"a.png", "b.jp2", "c.jp2", "d.txt"}) touch(folder / name);
  std::string heard;
  EXPECT_EQ(find_images(folder.path(), [&](const std::string& text) { heard += text + "\n"; }).size(), 1u);
  EXPECT_EQ(heard, folder.path().string() + ": 2 .jp2, 1 .txt ignored\n");
}

// A link back up: each picture once. A FIFO: never opened, though its name is a picture's.
TEST(ImageSet, LinksInCirclesAndFifosDoNotHang) {
  const TemporaryFolder folder;
  paint(folder / "a.png", 4, 4, 10);
  std::filesystem::create_directory(folder / "sub");
  paint(folder / "sub/b.png", 4, 4, 20);
  std::filesystem::create_directory_symlink("..", folder / "sub/loop");
  ASSERT_EQ(mkfifo((folder / "pipe.png").c_str(), 0600), 0);
  EXPECT_EQ(measure(folder.path(), {}, MeanExtractor()).all.count(), 2);
}

TEST(ImageSet, AFolderThatCannotBeListedIsAnErrorThatCanBeSkipped) {
  const TemporaryFolder folder;
  paint(folder / "a.png", 4, 4, 10);
  std::filesystem::create_directory(folder / "closed");
  paint(folder / "closed/b.png", 4, 4, 20);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  std::filesystem::permissions(folder / "a.png", std::filesystem::perms::all);
  std::filesystem::permissions(folder / "closed", std::filesystem::perms::none);
  {
    const test::WithoutRoot meanwhile;
    const std::string refused = refusal_of([&] { measure(folder.path(), {}, MeanExtractor()); });
    EXPECT_NE(refused.find((folder / "closed").string() + ": the folder cannot be listed, Permission denied"),
              std::string::npos)
        << refused;
    ImageSetOptions options;
    options.skip_unreadable = true;
    const ImageFeatures found = measure(folder.path(), options, MeanExtractor());
    EXPECT_EQ(found.all.count(), 1);
    EXPECT_EQ(found.unreadable.size(), 1u);
  }
  std::filesystem::permissions(folder / "closed", std::filesystem::perms::owner_all);
}

TEST(ImageSet, WhatHoldsNoPictureIsRefused) {
  const TemporaryFolder folder;
  EXPECT_NE(refusal_of([&] { find_images(folder.path()); }).find("no picture or video in or below"), std::string::npos);
  EXPECT_NE(refusal_of([&] { find_images(folder / "absent"); }).find("there is no folder or file"), std::string::npos);
  touch(folder / "notes.txt");
  EXPECT_NE(refusal_of([&] { find_images(folder / "notes.txt"); }).find("by its name"), std::string::npos);
}

TEST(ImageSet, ABatchGivesWhatItsManifestSaysIsDone) {
  const TemporaryFolder folder;
  for (const char* name : {"1.png", "2.png", "stray.png"}) touch(folder / name);
  touch(folder / "manifest.jsonl",
        "{\"id\":\"two\",\"status\":\"failed\"}\n{\"id\":\"two\",\"status\":\"done\",\"output\":\"2.png\"}\nnot json\n"
        "{\"id\":\"one\",\"status\":\"done\",\"output\":\"1.png\"}\n{\"id\":\"bad\",\"status\":\"bad_pixels\"}\n");
  for (const auto& path : {folder.path(), folder / "manifest.jsonl"}) {
    const std::vector<ImageSource> found = find_images(path);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].path.filename(), "1.png");
    EXPECT_EQ(found[1].path.filename(), "2.png");
  }
  std::filesystem::remove(folder / "2.png");
  EXPECT_NE(refusal_of([&] { find_images(folder.path()); }).find("two is done, but there is no file"),
            std::string::npos);
}

TEST(ImageFeatures, MixedSizesComeInOrder) {
  const TemporaryFolder folder;
  for (int i = 0; i < 20; ++i) paint(folder / (std::to_string(100 + i) + ".png"), 1 + i * 7, 30 - i, 5 * i);
  ImageSetOptions options;
  options.batch = 3;
  options.threads = 4;
  options.keep_features = true;
  const ImageFeatures found = measure(folder.path(), options, MeanExtractor());
  ASSERT_EQ(found.all.count(), 20);
  EXPECT_TRUE(at::allclose(found.pool->rows().select(1, 0), at::arange(20, at::kFloat) * 5));
}

TEST(ImageFeatures, SubFoldersAreKnownByName) {
  const TemporaryFolder folder;
  for (const char* name : {"cat/1.png", "cat/2.png", "dog/1.png"}) {
    std::filesystem::create_directories((folder / name).parent_path());
    paint(folder / name, 4, 4, 9);
  }
  const ImageFeatures found = measure(folder.path(), {}, MeanExtractor());
  EXPECT_EQ(found.rows_of_label.at("cat"), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(found.rows_of_label.at("dog"), (std::vector<int64_t>{2}));
}

TEST(ImageFeatures, DamagedFilesAreListedAndCounted) {
  const TemporaryFolder folder;
  paint(folder / "a.png", 4, 4, 10);
  touch(folder / "b.jpg", "no picture");
  paint(folder / "c.png", 4, 4, 20);
  touch(folder / "d.png", "");
  const MeanExtractor extractor;
  const std::string refused = refusal_of([&] { measure(folder.path(), {}, extractor); });
  EXPECT_NE(refused.find("2 of 4 files cannot be read; --skip-unreadable"), std::string::npos) << refused;
  EXPECT_NE(refused.find("b.jpg"), std::string::npos);
  EXPECT_NE(refused.find("d.png"), std::string::npos);
  ImageSetOptions options;
  options.skip_unreadable = true;
  const ImageFeatures found = measure(folder.path(), options, extractor);
  EXPECT_EQ(found.all.count(), 2);
  ASSERT_EQ(found.unreadable.size(), 2u);
  EXPECT_EQ(found.unreadable[0].path.filename(), "b.jpg");
  std::filesystem::remove(folder / "a.png");
  std::filesystem::remove(folder / "c.png");
  EXPECT_NE(refusal_of([&] { measure(folder.path(), options, extractor); }).find("none of 2 files"), std::string::npos);
}

TEST(ImageFeatures, AStopReachesTheDecoders) {
  const TemporaryFolder folder;
  for (int i = 0; i < 200; ++i) paint(folder / (std::to_string(i) + ".png"), 4, 4, 1);
  EXPECT_THROW(measure_images(find_images(folder.path()), MeanExtractor(), find_protocol("clean"), {},
                              [](int64_t) { throw Error("stop"); }),
               Error);
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(ImageFeatures, MemoryDoesNotGrowWithTheNumberOfFiles) {
  const TemporaryFolder folder;
  paint(folder / "0.png", 40, 40, 77);
  for (int i = 1; i < 10000; ++i)
    std::filesystem::create_hard_link(folder / "0.png", folder / (std::to_string(i) + ".png"));
  std::vector<ImageSource> sources = find_images(folder.path());
  ASSERT_EQ(sources.size(), 10000u);
  ImageSetOptions options;
  options.side = 64;
  options.threads = 2;
  const MeanExtractor extractor;
  long warm = 0;
  int64_t files = 0;
  const ImageFeatures found = measure_images(sources, extractor, find_protocol("pytorch-fid"), options, [&](int64_t n) {
    files += n;
    if (warm == 0 && files >= 1000) warm = peak_kilobytes();
  });
  EXPECT_EQ(found.all.count(), 10000);
  EXPECT_LT(peak_kilobytes() - warm, 20000);  // the pictures together are 490 MB
}

}  // namespace
}  // namespace tessera
