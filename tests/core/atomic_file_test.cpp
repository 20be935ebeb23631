#include "core/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::coded_error_of;

class AtomicFileTest : public testing::Test {
 protected:
  std::vector<std::string> entries() const { return test::listing(folder); }

  const test::TemporaryFolder own;
  const fs::path folder = own.path();
};

TEST_F(AtomicFileTest, AppearsOnlyWhenCommitted) {
  const fs::path path = folder / "x.bin";
  {
    AtomicFile file(path);
    file.write(std::string_view("a\0b", 3));
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(file.temporary().parent_path(), folder);
    EXPECT_EQ(entries().size(), 1u);
  }
  EXPECT_TRUE(entries().empty());
  write_file_atomically(path, std::string_view("a\0b", 3));
  EXPECT_EQ(test::read_text(path), std::string("a\0b", 3));
  EXPECT_EQ(entries(), std::vector<std::string>{"x.bin"});
}

TEST_F(AtomicFileTest, ReplacesWholeAndKeepsTheOldOneOnFailure) {
  const fs::path path = folder / "x.txt";
  write_file_atomically(path, "old and long");
  { AtomicFile(path).write("half"); }
  EXPECT_EQ(test::read_text(path), "old and long");
  write_file_atomically(path, "new");
  EXPECT_EQ(test::read_text(path), "new");
}

TEST_F(AtomicFileTest, CommitKeepsWhatALibraryWroteToTheTemporaryName) {
  AtomicFile file(folder / "x.txt");
  std::ofstream(file.temporary()) << "by another writer";
  file.commit();
  EXPECT_EQ(test::read_text(folder / "x.txt"), "by another writer");
}

TEST_F(AtomicFileTest, TwoWritersOfOneNameDoNotMeet) {
  AtomicFile first(folder / "x"), second(folder / "x");
  EXPECT_NE(first.temporary(), second.temporary());
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  EXPECT_EQ(test::read_text(folder / "x"), "first");
}

TEST_F(AtomicFileTest, FollowsLinksAndTakesLongNames) {
  write_file_atomically(folder / "real", "old");
  fs::create_symlink("real", folder / "link");
  write_file_atomically(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(test::read_text(folder / "real"), "new");

  std::string longest = std::string(63, 'x');
  for (int i = 0; i < 48; ++i) longest += "\xF0\x9F\x98\x80";  // 255 bytes
  write_file_atomically(folder / longest, "fits");
  EXPECT_EQ(test::read_text(folder / longest), "fits");
  EXPECT_NE(coded_error_of([&] { write_file_atomically(folder / (longest + "x"), ""); }).find("name is too long"),
            std::string::npos);
}

TEST_F(AtomicFileTest, ErrorsSayWhereWhyAndWhatToDo) {
  const std::string f = folder.string();
  EXPECT_EQ(coded_error_of([&] { check_writable(folder / "no" / "x.png"); }),
            "2: cannot write " + f + "/no/x.png: the folder " + f +
                "/no does not exist; create it or choose another output path");
  EXPECT_EQ(coded_error_of([&] { check_writable(folder); }),
            "2: cannot write " + f + ": it is a folder; choose another output path");
  EXPECT_EQ(coded_error_of([&] { check_writable(folder / ""); }),
            "2: cannot write " + f + "/: it names a folder, not a file; choose another output path");
  write_file_atomically(folder / "file", "");
  EXPECT_EQ(coded_error_of([&] { check_writable(folder / "file" / "x.png"); }),
            "2: cannot write " + f + "/file/x.png: " + f + "/file is not a folder; choose another output path");
  EXPECT_NE(coded_error_of([] { check_writable("/dev/null"); }).find("2: cannot write /dev/null: it is a device"),
            std::string::npos);
  EXPECT_EQ(coded_error_of([] { check_writable("/proc/x.png"); }).substr(0, 46),
            "2: cannot write /proc/x.png: the folder /proc ");
  EXPECT_EQ(
      write_error("out/x.mp4", ENOSPC).what(),
      std::string("cannot write out/x.mp4: the disk that holds the folder out is full; free some space and run again"));
  EXPECT_EQ(write_error("x.mp4", ENOSPC).code(), ExitCode::kFailed);
  EXPECT_EQ(write_error("x.mp4", EROFS).code(), ExitCode::kUsage);
}

TEST_F(AtomicFileTest, CheckWritableLeavesEverythingAsItWas) {
  write_file_atomically(folder / "x", "kept");
  check_writable(folder / "x");
  check_writable(folder / "y");
  EXPECT_EQ(entries(), std::vector<std::string>{"x"});
  EXPECT_EQ(test::read_text(folder / "x"), "kept");
}

// Root may write everywhere, so the child gives its rights up first.
TEST_F(AtomicFileTest, RefusesProtectedFoldersAndFiles) {
  write_file_atomically(folder / "x", "kept");
  fs::permissions(folder / "x", fs::perms::owner_read | fs::perms::others_read);
  const auto message_as_nobody = [&](const std::string& name) {
    if (getuid() == 0 && seteuid(65534) != 0) _exit(9);
    std::fprintf(stderr, "%s\n", coded_error_of([&] { check_writable(folder / name); }).c_str());
    _exit(0);
  };
  fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_exec);
  EXPECT_EXIT(message_as_nobody("y"), testing::ExitedWithCode(0),
              "2: cannot write .*/y: no permission to create files in");
  fs::permissions(folder, fs::perms::all);
  EXPECT_EXIT(message_as_nobody("x"), testing::ExitedWithCode(0), "2: cannot write .*/x: a write-protected file");
}

TEST_F(AtomicFileTest, ALimitReachedLeavesNoFile) {
  const auto write_too_much = [&] {
    install_signal_handlers();
    const rlimit limit = {1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = coded_error_of([&] { write_file_atomically(folder / "x", std::string(5000, 'x')); });
    std::fprintf(stderr, "%s; %zu left\n", error.c_str(), entries().size());
    _exit(0);
  };
  EXPECT_EXIT(write_too_much(), testing::ExitedWithCode(0), "1: cannot write .*/x: .*ulimit -f.* run again; 0 left");
}

TEST_F(AtomicFileTest, TheSecondSignalRemovesTheTemporaryFile) {
  const auto interrupted_twice = [&] {
    install_signal_handlers();
    AtomicFile file(folder / "x");
    file.write("half");
    raise(SIGTERM);
    if (entries().size() != 1) _exit(9);
    raise(SIGINT);
    _exit(8);
  };
  EXPECT_EXIT(interrupted_twice(), testing::ExitedWithCode(130), "");
  EXPECT_TRUE(entries().empty());
}

TEST_F(AtomicFileTest, AKillLeavesNoFileOfThatName) {
  const auto killed = [&] {
    AtomicFile file(folder / "x");
    file.write("half");
    raise(SIGKILL);
  };
  EXPECT_EXIT(killed(), testing::KilledBySignal(SIGKILL), "");
  EXPECT_FALSE(fs::exists(folder / "x"));
  write_file_atomically(folder / "x", "whole");
  EXPECT_EQ(test::read_text(folder / "x"), "whole");
}

}  // namespace
}  // namespace tessera
