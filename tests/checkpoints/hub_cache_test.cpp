#include "checkpoints/hub_cache.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::write_bytes;

struct HubCache : testing::Test {
  test::TemporaryFolder folder;
  fs::path model = folder / "models--Wan-AI--Wan2.1-T2V-1.3B";

  void add(const std::string& hash) { fs::create_directories(model / "snapshots" / hash / "transformer"); }
};

TEST_F(HubCache, OtherPathsStandForThemselves) {
  fs::create_directories(folder / "plain/snapshots");
  for (const fs::path& path : {folder / "plain", folder / "none", fs::path("relative/model.pt"), fs::path("")})
    EXPECT_EQ(resolve_hub_cache(path), path);
}

TEST_F(HubCache, TheSnapshotOfMain) {
  add("aaa");
  add("bbb");
  write_bytes(model / "refs/main", "bbb\n");
  for (const fs::path& path : {model, model / "", model / "snapshots", model / "snapshots/"})
    EXPECT_EQ(resolve_hub_cache(path), model / "snapshots/bbb") << path;
  EXPECT_EQ(resolve_hub_cache(model / "snapshots/aaa"), model / "snapshots/aaa");
  EXPECT_EQ(resolve_hub_cache(model / "snapshots/aaa/transformer"), model / "snapshots/aaa/transformer");
}

TEST_F(HubCache, TheOnlySnapshotWhereNoRefIsThere) {
  add("aaa");
  EXPECT_EQ(resolve_hub_cache(model), model / "snapshots/aaa");
  add("bbb");
  EXPECT_ERROR(resolve_hub_cache(model), model.string(), "no refs/main", "aaa, bbb", "name a folder of");
}

TEST_F(HubCache, ASnapshotThatIsNotThere) {
  fs::create_directories(model / "snapshots");
  EXPECT_ERROR(resolve_hub_cache(model), "it has no snapshot", "download the model again");
  add("aaa");
  write_bytes(model / "refs/main", "ccc");
  EXPECT_ERROR(resolve_hub_cache(model), "its refs/main names \"ccc\"", "not in snapshots/", "aaa");
  write_bytes(model / "refs/main", "../../..");
  EXPECT_ERROR(resolve_hub_cache(model), "its refs/main names");
}

}  // namespace
}  // namespace tessera
