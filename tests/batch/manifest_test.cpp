#include "batch/manifest.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

ManifestEntry entry(const std::string& id, const std::string& hash) {
  ManifestEntry made;
  made.id = id;
  made.status = "done";
  made.hash = hash;
  made.output = id + ".png";
  made.sha256 = "s";
  made.recipe = {{"prompt", "a"}};
  return made;
}

TEST(Manifest, LinesAreReadBackTheLastOneCounts) {
  const test::TemporaryFolder folder;
  {
    Manifest manifest(folder / "m");
    EXPECT_TRUE(manifest.empty());
    manifest.append(entry("a", "1"));
    manifest.append(entry("b", "2"));
    manifest.append(entry("a", "3"));
    EXPECT_EQ(manifest.find("a")->hash, "3");
  }
  const Manifest manifest(folder / "m");
  EXPECT_EQ(manifest.find("a")->hash, "3");
  EXPECT_EQ(manifest.find("b")->output, "b.png");
  EXPECT_EQ(manifest.find("c"), nullptr);
  EXPECT_FALSE(manifest.repaired());
}

TEST(Manifest, ATornLastLineIsCutOffWhereverItWasTorn) {
  const test::TemporaryFolder folder;
  {
    Manifest manifest(folder / "m");
    manifest.append(entry("a", "1"));
    manifest.append(entry("b", "2"));
  }
  const std::string whole = test::read_text(folder / "m");
  const size_t first = whole.find('\n') + 1;
  for (size_t length = first; length <= whole.size(); ++length) {
    std::ofstream(folder / "m", std::ios::binary) << whole.substr(0, length);
    Manifest manifest(folder / "m");
    const bool torn = length > first && length < whole.size();
    EXPECT_EQ(manifest.repaired(), torn) << length;
    EXPECT_NE(manifest.find("a"), nullptr);
    EXPECT_EQ(manifest.find("b") != nullptr, length == whole.size());
    manifest.append(entry("c", "3"));
    EXPECT_EQ(test::read_text(folder / "m").find("{\"id\":\"c\""), length == whole.size() ? length : first);
  }
}

TEST(Manifest, LinesThatCannotBeReadCountForNothing) {
  const test::TemporaryFolder folder;
  { Manifest(folder / "m").append(entry("a", "1")); }
  std::ofstream(folder / "m", std::ios::app) << "garbage\n{\"id\": 3}\n\n";
  const Manifest manifest(folder / "m");
  EXPECT_EQ(manifest.unreadable(), 3);
  EXPECT_NE(manifest.find("a"), nullptr);
}

TEST(Manifest, AFolderInItsPlaceIsSaidSo) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "m");
  EXPECT_THROW(Manifest(folder / "m"), Error);
}

TEST(Manifest, ReadingLeavesTheFileOfARunningProgramAsItIs) {
  const test::TemporaryFolder folder;
  Manifest writer(folder / "m");
  writer.append(entry("a", "1"));
  std::ofstream(folder / "m", std::ios::app) << "{\"id\": \"half";
  const std::string before = test::read_text(folder / "m");
  EXPECT_NE(Manifest(folder / "m", Manifest::Access::kRead).find("a"), nullptr);
  EXPECT_EQ(test::read_text(folder / "m"), before);
  EXPECT_THROW(Manifest(folder / "m"), Error) << "two writers";
  EXPECT_THROW(Manifest(folder / "none", Manifest::Access::kRead), Error);
}

TEST(Manifest, ShardsAreMergedOnceHoweverOftenItIsTried) {
  const test::TemporaryFolder folder;
  const auto shard = shard_path(folder.path(), 2);
  {
    Manifest other(shard);
    other.append(entry("b", "2"));
    other.append(entry("c", "3"));
  }
  std::ofstream(shard, std::ios::app) << "{\"id\": \"torn";
  const std::string lines = test::read_text(shard);
  Manifest whole(manifest_path(folder.path()));
  whole.append(entry("a", "1"));
  EXPECT_EQ(find_shards(folder.path()), std::vector{shard});
  EXPECT_TRUE(whole.merge(shard, std::chrono::milliseconds(0)));
  EXPECT_EQ(whole.find("c")->hash, "3");
  EXPECT_FALSE(std::filesystem::exists(shard));
  const std::string merged = test::read_text(folder / "manifest.jsonl");
  EXPECT_EQ(std::count(merged.begin(), merged.end(), '\n'), 3);
  // Killed after the lines were written and before the shard was removed.
  std::ofstream(shard) << lines;
  EXPECT_TRUE(Manifest(folder / "other").merge(shard, std::chrono::milliseconds(0)));
  std::ofstream(shard) << lines;
  EXPECT_TRUE(whole.merge(shard, std::chrono::milliseconds(0)));
  EXPECT_EQ(test::read_text(folder / "manifest.jsonl"), merged);
}

TEST(Manifest, AShardThatIsStillWrittenIsLeftAlone) {
  const test::TemporaryFolder folder;
  const auto shard = shard_path(folder.path(), 1);
  Manifest writer(shard);
  writer.append(entry("b", "2"));
  Manifest whole(manifest_path(folder.path()));
  EXPECT_FALSE(whole.merge(shard, std::chrono::milliseconds(30)));
  EXPECT_TRUE(whole.empty());
  EXPECT_TRUE(std::filesystem::exists(shard));
}

}  // namespace
}  // namespace tessera
