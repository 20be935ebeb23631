#include "core/manifest_lines.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

std::vector<ManifestLine> lines_of(const std::string& text) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "m", std::ios::binary) << text;
  std::vector<ManifestLine> lines;
  for_each_manifest_line(folder / "m", [&](ManifestLine line) { lines.push_back(std::move(line)); });
  return lines;
}

TEST(ManifestLines, ForeignLinesHaveNoEntry) {
  const auto lines =
      lines_of("{\"id\":\"a\",\"x\":1}\ngarbage\n\n[1]\n{\"id\":3}\n{\"status\":\"done\"}\n{\"id\":\"b\"}\n");
  ASSERT_EQ(lines.size(), 7u);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].entry.is_null(), i != 0 && i != 6) << i;
    EXPECT_TRUE(lines[i].complete) << i;
  }
  EXPECT_EQ(lines[0].text, "{\"id\":\"a\",\"x\":1}");
  EXPECT_EQ(lines[0].entry["x"], 1);
  EXPECT_EQ(lines[6].entry["id"], "b");
}

TEST(ManifestLines, ALastLineWithoutItsEndSaysSo) {
  const auto torn = lines_of("{\"id\":\"a\"}\n{\"id\":\"b\",\"sta");
  ASSERT_EQ(torn.size(), 2u);
  EXPECT_TRUE(torn[0].complete);
  EXPECT_FALSE(torn[1].complete);
  EXPECT_TRUE(torn[1].entry.is_null());
  const auto whole = lines_of("{\"id\":\"a\"}");
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_FALSE(whole[0].complete);
  EXPECT_EQ(whole[0].entry["id"], "a");
  EXPECT_TRUE(lines_of("").empty());
}

TEST(ManifestLines, AMissingRecordIsAnError) {
  EXPECT_ERROR(for_each_manifest_line("none/m", [](const ManifestLine&) {}), "cannot read none/m");
}

TEST(ManifestLines, ShardsAreFoundByTheirNamesAlone) {
  const test::TemporaryFolder folder;
  for (const char* name : {"manifest.rank2.jsonl", "manifest.rank0.jsonl", "manifest.jsonl", "manifest.rankx.jsonl"})
    std::ofstream(folder / name) << "x";
  std::filesystem::create_directory(folder / "manifest.rank7.jsonl");
  EXPECT_EQ(find_shards(folder.path()), (std::vector{shard_path(folder.path(), 0), shard_path(folder.path(), 2)}));
}

}  // namespace
}  // namespace tessera
