#include "core/visible_files.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

void touch(const fs::path& path) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "x";
}

TEST(VisibleFiles, HiddenFilesAndFoldersAreSkippedAtAnyDepth) {
  const test::TemporaryFolder folder;
  for (const char* name : {"b/c", "a", "b/.hidden", ".git/HEAD", "b/.cache/huggingface/a.metadata", "b/.cache/d/e"})
    touch(folder / name);
  EXPECT_EQ(visible_files(folder.path()), (std::vector<fs::path>{"a", "b/c"}));
}

TEST(VisibleFiles, ThoseOfAHiddenFolderItselfAreThere) {
  const test::TemporaryFolder folder;
  touch(folder / ".cache" / "a");
  EXPECT_EQ(visible_files(folder / ".cache"), std::vector<fs::path>{"a"});
}

TEST(VisibleFiles, LinksAreFollowedAndWhatIsNoFileIsSkipped) {
  const test::TemporaryFolder folder;
  touch(folder / "blobs/b1");
  touch(folder / "elsewhere/c");
  fs::create_directories(folder / "model/empty");
  fs::create_symlink("../blobs/b1", folder / "model/weights");
  fs::create_directory_symlink("../elsewhere", folder / "model/part");
  fs::create_symlink("nowhere", folder / "model/broken");
  EXPECT_EQ(visible_files(folder / "model"), (std::vector<fs::path>{"../blobs/b1", "../elsewhere/c"}));
}

TEST(VisibleFiles, AFolderThatIsNotThereIsNamed) {
  const test::TemporaryFolder folder;
  EXPECT_ERROR(visible_files(folder / "none"), "cannot list the folder", "none");
}

}  // namespace
}  // namespace tessera
