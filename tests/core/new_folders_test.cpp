#include "core/new_folders.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

TEST(NewFolders, ExistAtOnceAndStayOnlyWithAFile) {
  const test::TemporaryFolder folder;
  {
    const NewFolders made(folder / "a/b/x.png");
    EXPECT_TRUE(fs::is_directory(folder / "a/b"));
  }
  EXPECT_FALSE(fs::exists(folder / "a"));
  {
    const NewFolders made(folder / "a/b/x.png");
    std::ofstream(folder / "a/x.png") << "x";
  }
  EXPECT_EQ(test::listing(folder / "a"), std::vector<std::string>{"x.png"});
}

TEST(NewFolders, ThoseThatWereThereAreLeftAlone) {
  const test::TemporaryFolder folder;
  fs::create_directory(folder / "old");
  { const NewFolders made(folder / "old/x.png"); }
  EXPECT_TRUE(fs::exists(folder / "old"));
  { const NewFolders none("x.png"); }
  { const NewFolders none(""); }
}

TEST(NewFolders, AFileInTheWayLeavesNothingBehind) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  EXPECT_ERROR(NewFolders(folder / "file/sub/x.png"), "cannot write", "not a folder");
  EXPECT_ERROR(NewFolders(folder / "new/../file/x/y.png"), "cannot write", "not a folder");
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{"file"});
}

}  // namespace
}  // namespace tessera
