#include "core/size_limits.h"

#include <gtest/gtest.h>

#include "core/yaml_config.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using nlohmann::json;
using test::TemporaryFolder;
using test::write_bytes;

JsonConfig config(const json& object) {
  return {object, "a/config.json"};
}

TEST(SizeLimits, ASizeLiesBetweenOneAndItsLimit) {
  const JsonConfig good = config({{"layers", 7}, {"whole", 7.0}});
  EXPECT_EQ(read_size(good, "layers", 7), 7);
  EXPECT_EQ(read_size(good, "whole", 7), 7);
  EXPECT_EQ(read_size(good, "absent", 7, 3), 3);
  EXPECT_ERROR(read_size(good, "layers", 6), "a/config.json: \"layers\" must lie between 1 and 6, got 7");
  EXPECT_ERROR(read_size(good, "absent", 6), "\"absent\" is required");
  for (const json& bad : {json(0), json(-1), json(int64_t{1} << 62), json(1e15)})
    EXPECT_ERROR(read_size(config({{"layers", bad}}), "layers", 100, 1), "\"layers\" must lie between 1 and 100");
  for (const json& bad : {json(1.5), json("7"), json(1e30), json(UINT64_MAX), json::array({1})})
    EXPECT_ERROR(read_size(config({{"layers", bad}}), "layers", 100, 1), "\"layers\" must be a whole number");
}

TEST(SizeLimits, AListHasAsManyItemsAsAllowed) {
  EXPECT_EQ(read_sizes(config({{"list", {1, 4}}}), "list", 4, 2, {}), (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(read_sizes(config(json::object()), "list", 4, 2, {3}), std::vector<int64_t>{3});
  for (const json& bad : {json::array(), json({1, 2, 3}), json({1, 5}), json({0, 1})})
    EXPECT_ERROR(read_sizes(config({{"list", bad}}), "list", 4, 2, {}),
                 "\"list\" must hold 1 to 2 whole numbers between 1 and 4");
}

TEST(SizeLimits, FilesAreMeasuredBeforeTheyAreRead) {
  const TemporaryFolder folder;
  write_bytes(folder / "small", "four");
  EXPECT_EQ(read_small_file(folder / "small", 4, "a note"), "four");
  EXPECT_ERROR(read_small_file(folder / "small", 3, "a note"), "small has 4 bytes: a note has at most 3");
  EXPECT_ERROR(read_small_file(folder / "none", 3, "a note"), "cannot read", "no such file");
  // Sparse files of 64 GB, which no machine that runs this could hold.
  for (const char* name : {"config.json", "config.yaml"}) {
    write_bytes(folder / name, "{");
    std::filesystem::resize_file(folder / name, uint64_t{64} << 30);
  }
  EXPECT_ERROR(read_json_object(folder / "config.json"), "config.json has 68719476736 bytes");
  EXPECT_ERROR(read_yaml_object(folder / "config.yaml"), "config.yaml has 68719476736 bytes");
}

TEST(SizeLimits, AConfigHasAMillionValuesAtMost) {
  const TemporaryFolder folder;
  std::string list = "{\"a\":[0";
  for (int i = 0; i < 1'000'000; ++i) list += ",0";
  write_bytes(folder / "config.json", list + "]}");
  EXPECT_ERROR(read_json_object(folder / "config.json"), "config.json has more than 1000000 values");
}

}  // namespace
}  // namespace tessera
