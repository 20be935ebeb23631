#include "batch/folder.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"
#include "tests/support/without_root.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

TEST(Folder, UnfinishedFilesAreRemovedAroundAFolderThatCannotBeRead) {
  const test::TemporaryFolder folder;
  for (const char* name : {"a", "lost+found", "z"}) fs::create_directory(folder / name);
  for (const fs::path& place : {folder.path(), folder / "a", folder / "z"}) {
    fs::permissions(place, fs::perms::all);
    std::ofstream(place / ".x.png.4711.part") << "x";
    std::ofstream(place / "x.png") << "x";
  }
  fs::permissions(folder / "lost+found", fs::perms::none);
  {
    const test::WithoutRoot meanwhile;
    ASSERT_THROW(fs::directory_iterator(folder / "lost+found"), fs::filesystem_error);
    EXPECT_NO_THROW(remove_unfinished_files(folder.path()));
  }
  fs::permissions(folder / "lost+found", fs::perms::owner_all);
  EXPECT_EQ(test::listing(folder.path()),
            (std::vector<std::string>{"a", "a/x.png", "lost+found", "x.png", "z", "z/x.png"}));
}

}  // namespace
}  // namespace tessera
