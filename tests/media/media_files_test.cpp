#include "media/media_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

TEST(FindMedia, TakesWhatIsWantedAndCountsTheRest) {
  const test::TemporaryFolder folder;
  for (const char* name : {"b/x.PNG", "a.tif", "a.jp2", "b/c.JP2", "clip.mp4", "notes", "LICENSE", "x.csv", ".x.jp2"})
    test::write_bytes(folder / name, "x");
  ASSERT_EQ(mkfifo((folder / "b/pipe.png").c_str(), 0600), 0);
  const MediaFiles pictures = find_media(folder.path(), {Medium::kPicture});
  EXPECT_EQ(pictures.files, (std::vector<fs::path>{folder / "a.tif", folder / "b/x.PNG"}));
  EXPECT_EQ(pictures.note, folder.path().string() + ": 2 .jp2, 2 without an extension, 1 .csv, 1 .mp4, 1 FIFO (" +
                               (folder / "b/pipe.png").string() + ") ignored");
  const MediaFiles both = find_media(folder / "b", {Medium::kPicture, Medium::kVideo});
  EXPECT_EQ(both.files, std::vector<fs::path>{folder / "b/x.PNG"});
  EXPECT_EQ(find_media(folder.path(), {Medium::kVideo}).files, std::vector<fs::path>{folder / "clip.mp4"});
}

TEST(FindMedia, NothingIsSaidWhereNothingIsIgnoredAndNotTooMuchElse) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder / "a.png", "x");
  EXPECT_EQ(find_media(folder.path(), {Medium::kPicture}).note, "");
  for (int i = 0; i < 12; ++i) test::write_bytes(folder / ("x.t" + std::to_string(i)), "x");
  const std::string note = find_media(folder.path(), {Medium::kPicture}).note;
  EXPECT_NE(note.find(" 1 .t0, "), std::string::npos) << note;
  EXPECT_NE(note.find(", 4 of 4 other kinds ignored"), std::string::npos) << note;
  test::write_bytes(folder / "sub/x.\x1b[31m", "x");
  EXPECT_EQ(find_media(folder / "sub", {Medium::kPicture}).note.find('\x1b'), std::string::npos);
}

// They come out as files, so that reading them fails and is reported.
TEST(FindMedia, WhatCannotBeLookedAtIsNotLeftOut) {
  const test::TemporaryFolder folder;
  test::write_bytes(folder / "b.png", "x");
  fs::create_symlink("nowhere.png", folder / "a.png");
  fs::create_symlink("nowhere.txt", folder / "c.txt");
  const MediaFiles found = find_media(folder.path(), {Medium::kPicture});
  EXPECT_EQ(found.files, (std::vector<fs::path>{folder / "a.png", folder / "b.png"}));
  EXPECT_EQ(find_media(folder / "absent", {Medium::kPicture}).files, std::vector<fs::path>{folder / "absent"});
}

}  // namespace
}  // namespace tessera
