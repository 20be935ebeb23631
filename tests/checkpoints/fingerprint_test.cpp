#include "checkpoints/fingerprint.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(Fingerprint, HiddenFilesAndFoldersDoNotChangeIt) {
  const test::TemporaryFolder folder;
  write(folder / "a.b", "one");
  write(folder / "a/b", "two");
  Job job;
  job.model = folder.path();
  // printf 'a.b 3\noneoneonea/b 3\ntwotwotwo' | sha256sum
  const std::string want = "a592c3ae2f243eae3868b3f659af4f5ab73ead40b1717543900dbbf824a111f7";
  EXPECT_EQ(model_fingerprint(job), want);
  for (const char* name : {".hidden", ".git/HEAD", ".cache/huggingface/download/a.metadata", "a/.cache/b"})
    write(folder / name, "1700000000");
  EXPECT_EQ(model_fingerprint(job), want);
  write(folder / "a/c", "three");
  EXPECT_NE(model_fingerprint(job), want);
}

}  // namespace
}  // namespace tessera
