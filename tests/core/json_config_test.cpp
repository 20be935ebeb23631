#include "core/json_config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using test::error_of;

const JsonConfig kConfig(
    {{"layers", 4}, {"whole", 2.0}, {"half", 2.5}, {"name", "wan"}, {"list", {1, 2}}, {"none", nullptr}},
    "model/config.json");

}  // namespace

TEST(JsonConfig, ReadsTypedValuesAndFallsBackOnNull) {
  EXPECT_EQ(kConfig.integer("layers"), 4);
  EXPECT_EQ(kConfig.integer("whole"), 2);
  EXPECT_EQ(kConfig.integer("none", 9), 9);
  EXPECT_DOUBLE_EQ(kConfig.number("half", 0), 2.5);
  EXPECT_EQ(kConfig.integers("list"), (std::vector<int64_t>{1, 2}));
}

TEST(JsonConfig, ErrorsNameFileKeyAndValue) {
  EXPECT_EQ(error_of([] { kConfig.integer("half"); }), "model/config.json: \"half\" must be a whole number, got 2.5");
  EXPECT_EQ(error_of([] { kConfig.integer("absent"); }), "model/config.json: \"absent\" is required, got nothing");
  EXPECT_EQ(error_of([] { kConfig.text("layers"); }), "model/config.json: \"layers\" must be a string, got 4");
  EXPECT_EQ(error_of([] { kConfig.object("list"); }), "model/config.json: \"list\" must be an object, got [1,2]");
}

TEST(JsonConfig, UnknownKeysGetTheNearestMatch) {
  const JsonConfig config({{"block_layuot", 1}}, "c.json");
  EXPECT_EQ(error_of([&] {
              config.reject_unknown({"block_layout", "kind"});
            }),
            "c.json: unknown key \"block_layuot\" (did you mean block_layout?)");
}

TEST(JsonConfig, FilesThatAreNotObjectsAreRefusedByName) {
  const test::TemporaryFolder folder;
  const auto path = folder / "config.json";
  std::ofstream(path) << "{\"a\": 1,";
  EXPECT_NE(error_of([&] { read_json_object(path); }).find(path.string() + " is not valid JSON"), std::string::npos);
  std::ofstream(path) << "[1]";
  EXPECT_EQ(error_of([&] { read_json_object(path); }), path.string() + " holds array, want a JSON object");
  std::filesystem::remove(path);
  EXPECT_NE(error_of([&] { read_json_object(path); }).find("cannot read"), std::string::npos);
}

TEST(JsonConfig, HostileTextsAreOneShortLine) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "hostile.json";
  const auto error_of_text = [&](const std::string& text) {
    std::ofstream(path) << text;
    const std::string message = error_of([&] { JsonConfig::read(path); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 400u) << message;
    return message;
  };
  EXPECT_NE(error_of_text("{\"a\": 2e308}").find("line 1, column 7: 2e308 is too large"), std::string::npos);
  EXPECT_NE(error_of_text("{\"a\": " + std::string(100'000, '[')).find("more than 64 nested levels"),
            std::string::npos);
  EXPECT_NE(error_of_text("{\"a\": \"" + std::string(100'000, 'x')).find("not valid JSON"), std::string::npos);

  const nlohmann::json object = {{"two\nlines", 18446744073709551615u}, {std::string(5000, 'k'), 1}};
  const JsonConfig config(object, "c.json");
  EXPECT_EQ(error_of([&] { config.integer("two\nlines"); }),
            "c.json: \"two\\nlines\" must be a whole number, got 18446744073709551615");
  EXPECT_LT(error_of([&] { config.text(std::string(5000, 'k')); }).size(), 300u);
  EXPECT_EQ(error_of([&] { config.reject_unknown({"layers", "kind"}); }).find('\n'), std::string::npos);
}

}  // namespace tessera
