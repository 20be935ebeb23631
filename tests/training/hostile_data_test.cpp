#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "media/image_io.h"
#include "tests/media/folder_test.h"
#include "tests/support/tar.h"
#include "training/archive.h"
#include "training/data_items.h"
#include "training/item_frames.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;
using test::kTarEnd;
using test::tar_member;
using test::write_bytes;

/// Training data as nobody should have them: one clear line for each, and no harm.
class HostileData : public test::FolderTest {
 protected:
  void picture(const std::string& name) const {
    std::filesystem::create_directories((folder / name).parent_path());
    write_png(folder / name, at::full({4, 4, 3}, 9, at::kByte));
  }

  /// Why the only other picture besides a good one is dropped.
  std::string reason_for(const std::string& caption) const {
    picture("data/good.png");
    write_bytes(folder / "data/good.txt", "a good one");
    picture("data/bad.png");
    write_bytes(folder / "data/bad.txt", caption);
    const DataSet set = list_data(folder / "data");
    EXPECT_EQ(set.items.size(), 1u);
    return set.dropped.size() == 1 ? set.dropped[0].reason : "kept";
  }
};

TEST_F(HostileData, CaptionsThatAreNoText) {
  EXPECT_EQ(reason_for("a caf\xe9"), "its caption is not text in UTF-8");
  EXPECT_EQ(reason_for(std::string("a\0b", 3)), "its caption is not text in UTF-8");
  EXPECT_EQ(reason_for(std::string(70000, 'x')), "its caption has 70000 bytes, more than 65536");
  EXPECT_EQ(reason_for(" \n\t"), "it has no caption");
  EXPECT_EQ(reason_for("\xef\xbb\xbf"), "it has no caption");  // nothing but an editor's mark
}

TEST_F(HostileData, FilesWithoutEachOther) {
  picture("data/a.png");
  write_bytes(folder / "data/a.txt", "a");
  write_bytes(folder / "data/b.txt", "of nothing");
  const DataSet set = list_data(folder / "data");
  ASSERT_EQ(set.dropped.size(), 1u);
  EXPECT_EQ(set.dropped[0].name, (folder / "data/b.txt").string());
  EXPECT_EQ(set.dropped[0].reason, "there is no picture or video of its name");
  write_bytes(folder / "data/metadata.csv", "file_name,text\na.png,named\n");
  picture("data/c.png");
  const DataSet table = list_data(folder / "data");
  ASSERT_EQ(table.dropped.size(), 1u);
  EXPECT_EQ(table.dropped[0].reason, "metadata.csv does not name it");
}

TEST_F(HostileData, NamesThatAreNoText) {
  picture("data/good.png");
  write_bytes(folder / "data/good.txt", "a good one");
  picture("data/caf\xe9.png");
  write_bytes(folder / "data/caf\xe9.txt", "a name in Latin-1");
  const DataSet set = list_data(folder / "data");
  ASSERT_EQ(set.items.size(), 1u);
  ASSERT_EQ(set.dropped.size(), 1u);
  EXPECT_TRUE(contains(set.dropped[0].name, "caf\\xe9.png"));
  EXPECT_EQ(set.dropped[0].reason, "its name is not text in UTF-8");
}

TEST_F(HostileData, NamesInAnArchiveAreNoPaths) {
  picture("picture.png");
  const std::string png = test::read_text(folder / "picture.png");
  write_bytes(folder / "sets/evil.tar", tar_member("../../evil.png", png) + tar_member("../../evil.txt", "evil") +
                                            tar_member("/tmp/evil.png", png) + tar_member("/tmp/evil.txt", "evil") +
                                            kTarEnd);
  const std::vector<std::string> before = test::listing(folder.path());
  const DataSet set = list_data(folder / "sets/evil.tar");
  ASSERT_EQ(set.items.size(), 2u);
  for (const DataItem& item : set.items) EXPECT_EQ(ItemFrames(item, folder.path()).size(), (FrameSize{4, 4}));
  EXPECT_EQ(test::listing(folder.path()), before);
}

TEST_F(HostileData, ArchivesWithNothingOrTwice) {
  const auto told = [&](const std::string& name, const std::string& bytes) {
    write_bytes(folder / name, bytes);
    return error_of([&] { list_data(folder / name); });
  };
  EXPECT_TRUE(contains(told("none.tar", ""), "none.tar"));
  EXPECT_TRUE(contains(told("empty.tar", kTarEnd), "holds no picture or video with a caption"));
  EXPECT_TRUE(
      contains(told("empty.zip", "PK\5\6" + std::string(18, '\0')), "holds no picture or video with a caption"));
  EXPECT_TRUE(contains(told("twice.tar", tar_member("a.txt", "1") + tar_member("a.txt", "2") + kTarEnd),
                       "has two files of the name a.txt"));
  EXPECT_TRUE(contains(told("list.tar", tar_member("a.png", "x") + tar_member("a.json", "[1]") + kTarEnd),
                       "a.json is not a JSON object"));
}

TEST_F(HostileData, AZipThatClaimsMoreThanItCanHold) {
  const std::filesystem::path set = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/webdataset/set.zip";
  std::string bytes = test::read_text(set);
  const size_t directory = bytes.find("PK\1\2");
  ASSERT_NE(directory, std::string::npos);
  size_t entry = directory;  // the first that is deflated
  while (bytes[entry + 10] != 8) entry = bytes.find("PK\1\2", entry + 4);
  bytes.replace(entry + 24, 4, std::string("\xff\xff\xff\x7f", 4));
  write_bytes(folder / "bomb.zip", bytes);
  const Archive archive(folder / "bomb.zip");
  const auto read_all = [&] {
    for (const std::string& name : archive.names()) archive.bytes(name);
  };
  EXPECT_TRUE(contains(error_of(read_all), "claims 2147483647 bytes, more than its"));
}

}  // namespace
}  // namespace tessera
