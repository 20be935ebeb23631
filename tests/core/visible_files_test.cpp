#include "core/visible_files.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/without_root.h"

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

TEST(ScanFolder, FilesComeByTheirNamesInTheOrderOfTheirBytes) {
  const test::TemporaryFolder folder;
  for (const char* name : {"b/c", "b.x", "a", "B", ".hidden", "b/.git/x"}) touch(folder / name);
  fs::create_symlink("../a", folder / "b/link");
  EXPECT_EQ(scan_folder(folder.path()).files,
            (std::vector<fs::path>{folder / "B", folder / "a", folder / "b.x", folder / "b/c", folder / "b/link"}));
}

TEST(ScanFolder, AFolderIsListedOnceHoweverManyLinksLeadToIt) {
  const test::TemporaryFolder folder;
  touch(folder / "set/a/1");
  touch(folder / "set/b/2");
  touch(folder / "set/b/deep/3");
  touch(folder / "outside/4");
  fs::create_directory_symlink("..", folder / "set/a/up");       // the set itself
  fs::create_directory_symlink("../b", folder / "set/a/other");  // one that is there by its own name
  fs::create_directory_symlink("../../a", folder / "set/b/deep/back");
  fs::create_directory_symlink("../outside", folder / "set/first");
  fs::create_directory_symlink("../outside", folder / "set/second");
  const fs::path set = folder / "set";
  EXPECT_EQ(scan_folder(set).files,
            (std::vector<fs::path>{set / "a/1", set / "b/2", set / "b/deep/3", set / "first/4"}));
}

TEST(ScanFolder, WhatIsNoFileIsToldApartAndNeverOpened) {
  const test::TemporaryFolder folder;
  touch(folder / "a");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int socket_number = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = folder / "sock";
  ASSERT_LT(name.size(), sizeof address.sun_path);
  name.copy(address.sun_path, name.size());
  ASSERT_EQ(bind(socket_number, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  fs::create_symlink("/dev/null", folder / "null");
  fs::create_symlink("nowhere", folder / "lost");
  const FolderScan scan = scan_folder(folder.path());
  close(socket_number);
  EXPECT_EQ(scan.files, std::vector<fs::path>{folder / "a"});
  EXPECT_EQ(scan.lost, std::vector<fs::path>{folder / "lost"});
  ASSERT_EQ(scan.others.size(), 3u);
  EXPECT_EQ(scan.others[0].what, "device");
  EXPECT_EQ(scan.others[1].what, "FIFO");
  EXPECT_EQ(scan.others[2].path, folder / "sock");
  EXPECT_EQ(scan.others[2].what, "socket");
}

TEST(ScanFolder, AFolderThatCannotBeListedIsNamedAndTheRestIsThere) {
  const test::TemporaryFolder folder;
  touch(folder / "a/1");
  touch(folder / "b/2");
  touch(folder / "c/3");
  fs::permissions(folder.path(), fs::perms::all);
  fs::permissions(folder / "b", fs::perms::none);
  {
    const test::WithoutRoot meanwhile;
    const FolderScan scan = scan_folder(folder.path());
    EXPECT_EQ(scan.files, (std::vector<fs::path>{folder / "a/1", folder / "c/3"}));
    ASSERT_EQ(scan.unlisted.size(), 1u);
    EXPECT_EQ(scan.unlisted[0].path, folder / "b");
    EXPECT_EQ(scan.unlisted[0].what, "Permission denied");
    EXPECT_ERROR(visible_files(folder.path()), "cannot list the folder " + (folder / "b").string());
  }
  fs::permissions(folder / "b", fs::perms::owner_all);
}

}  // namespace
}  // namespace tessera
