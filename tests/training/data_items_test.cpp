#include "training/data_items.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "media/image_io.h"
#include "tests/media/folder_test.h"
#include "tests/support/tar.h"
#include "training/archive.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;
using test::kTarEnd;
using test::tar_member;
using test::write_bytes;

class DataItems : public test::FolderTest {
 protected:
  void picture(const std::string& name) const {
    std::filesystem::create_directories((folder / name).parent_path());
    write_png(folder / name, at::full({4, 4, 3}, 9, at::kByte));
  }
};

TEST_F(DataItems, AFolderWithTextFiles) {
  picture("a.png");
  picture("deep/b.png");
  picture("c.png");
  write_bytes(folder / "a.txt", " a cat \n");
  write_bytes(folder / "deep/b.txt", "a dog");
  write_bytes(folder / "clip.mp4", "");
  write_bytes(folder / "clip.txt", "a film");
  write_bytes(folder / "notes.md", "ignored");
  const DataSet set = list_data(folder.path());
  ASSERT_EQ(set.items.size(), 3u);
  EXPECT_EQ(set.items[0].caption, "a cat");
  EXPECT_EQ(set.items[1].medium, Medium::kVideo);
  EXPECT_EQ(set.items[2].caption, "a dog");
  ASSERT_EQ(set.dropped.size(), 1u);
  EXPECT_EQ(set.dropped[0].name, (folder / "c.png").string());
  EXPECT_EQ(set.dropped[0].reason, "it has no caption");
}

TEST_F(DataItems, LinesAsMusubiHasThem) {
  picture("a.png");
  picture("frames/1.png");
  write_bytes(folder / "set.jsonl",
              "{\"image_path\": \"a.png\", \"caption\": \"one\"}\n\n"
              "{\"video_path\": \"frames\", \"caption\": \"two\"}\n"
              "{\"video_path\": \"lost.mp4\", \"caption\": \"three\"}\n");
  const DataSet set = list_data(folder / "set.jsonl");
  ASSERT_EQ(set.items.size(), 2u);
  EXPECT_EQ(set.items[0].medium, Medium::kPicture);
  EXPECT_TRUE(set.items[1].frame_folder);
  ASSERT_EQ(set.dropped.size(), 1u);
  EXPECT_EQ(set.dropped[0].reason, "there is no such file");

  write_bytes(folder / "bad.jsonl", "{\"image_path\": \"a.png\", \"caption\": \"one\"}\n[1]\n");
  EXPECT_TRUE(contains(error_of([&] { list_data(folder / "bad.jsonl"); }), "bad.jsonl, line 2: want one JSON object"));
}

TEST_F(DataItems, TablesAsHuggingFaceHasThem) {
  picture("a.png");
  picture("b.png");
  write_bytes(folder / "metadata.csv", "file_name,text\r\na.png,\"red, \"\"round\"\"\nand big\"\r\nb.png,blue\r\n");
  DataSet set = list_data(folder.path());
  ASSERT_EQ(set.items.size(), 2u);
  EXPECT_EQ(set.items[0].caption, "red, \"round\"\nand big");
  EXPECT_EQ(set.items[1].caption, "blue");
  write_bytes(folder / "metadata.jsonl", "{\"file_name\": \"b.png\", \"text\": \"from JSON\"}\n");
  set = list_data(folder.path());
  ASSERT_EQ(set.items.size(), 1u);
  EXPECT_EQ(set.items[0].caption, "from JSON");
}

TEST_F(DataItems, ATableWithARaggedRowIsAnError) {
  EXPECT_EQ(parse_csv("a,b\n1,2\n", "t").at(0).at("b"), "2");
  EXPECT_TRUE(
      contains(error_of([] { parse_csv("a,b\n1,2,3\n", "t.csv"); }), "t.csv: row 1 has 3 fields, the header 2"));
  EXPECT_TRUE(contains(error_of([] { parse_csv("a,b\n\"1,2\n", "t.csv"); }), "a quoted field does not end"));
}

TEST_F(DataItems, ATarAsWebDatasetHasIt) {
  const std::string long_name = "set/" + std::string(120, 'n') + ".mp4";
  const std::string bytes =
      tar_member("set/001.mp4", "video one") + tar_member("set/001.json", "{\"caption\": \"one\"}") +
      tar_member("set/002.jpg", std::string(600, 'j')) + tar_member("set/002.txt", "two") +
      tar_member("././@LongLink", long_name + '\0', 'L') + tar_member("cut", "three") + tar_member("set/", "", '5');
  write_bytes(folder / "set.tar", bytes + kTarEnd);
  const DataSet set = list_data(folder / "set.tar");
  ASSERT_EQ(set.items.size(), 2u);
  EXPECT_EQ(set.items[0].member, "set/001.mp4");
  EXPECT_EQ(set.items[0].caption, "one");
  EXPECT_EQ(set.items[1].caption, "two");
  ASSERT_EQ(set.dropped.size(), 1u);  // the long name has no caption
  const Archive archive(folder / "set.tar");
  EXPECT_EQ(archive.bytes("set/001.mp4"), "video one");
  EXPECT_EQ(archive.bytes(long_name), "three");
  EXPECT_TRUE(contains(error_of([&] { archive.bytes("none"); }), "no such file"));
}

TEST_F(DataItems, ArchivesThatPythonWrote) {
  const std::filesystem::path data = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/webdataset";
  const std::string long_name = "part/" + std::string(120, 'n') + ".mp4";
  for (const char* name : {"set.zip", "pax.tar"}) {
    SCOPED_TRACE(name);
    const DataSet set = list_data(data / name);
    ASSERT_EQ(set.items.size(), 2u);
    EXPECT_EQ(set.items[0].caption, "the first");
    EXPECT_EQ(set.items[0].medium, Medium::kPicture);
    EXPECT_EQ(set.items[1].member, long_name);
    EXPECT_EQ(set.items[1].caption, "the second");
    const Archive archive(data / name);
    EXPECT_EQ(archive.bytes("part/001.jpg"), "not truly a picture");
    EXPECT_EQ(archive.bytes(long_name).size(), 19u * 40);
  }
}

TEST_F(DataItems, ADamagedTarIsAnError) {
  const std::string bytes = tar_member("001.mp4", std::string(2000, 'v'));
  write_bytes(folder / "cut.tar", bytes.substr(0, 1000));
  EXPECT_TRUE(contains(error_of([&] { Archive archive(folder / "cut.tar"); }), "cut short"));
  write_bytes(folder / "open.tar", bytes);
  EXPECT_TRUE(contains(error_of([&] { Archive archive(folder / "open.tar"); }), "cut short"));
  std::string wrong = bytes + kTarEnd;
  wrong[3] = 'x';
  write_bytes(folder / "wrong.tar", wrong);
  EXPECT_TRUE(contains(error_of([&] { Archive archive(folder / "wrong.tar"); }), "wrong checksum"));
}

TEST_F(DataItems, NothingToTrainOnIsAnError) {
  write_bytes(folder / "empty/readme.md", "");
  EXPECT_TRUE(contains(error_of([&] { list_data(folder / "empty"); }), "holds no picture or video with a caption"));
  EXPECT_TRUE(contains(error_of([&] { list_data(folder / "none"); }), "no such file or folder"));
  write_bytes(folder / "x.parquet", "");
  EXPECT_TRUE(
      contains(error_of([&] { list_data(folder / "x.parquet"); }), "want a folder, a .jsonl, a .tar or a .zip"));
}

}  // namespace
}  // namespace tessera
