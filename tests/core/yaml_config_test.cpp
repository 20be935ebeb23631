#include "core/yaml_config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using nlohmann::json;

struct YamlConfig : testing::Test {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "config.yaml";

  json read(const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    return read_yaml_object(path);
  }
  std::string problem(const std::string& text) {
    const std::string message = test::refusal_of([&] { read(text); });
    EXPECT_TRUE(message == "accepted" || message.find(path.string()) != std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
};

TEST_F(YamlConfig, MapsListsAndScalars) {
  const json value = read(
      "# a training config\n"
      "model:\n"
      "  name: Wan_T2V_1300M\n"
      "  width: 800 # pixels\n"
      "  from_pretrained: null\n"
      "  cache_dir: \n"
      "  layers: [1, 2, 4]\n"
      "  patch:\n"
      "    - 1\n"
      "    - 2\n"
      "  gated: true\n"
      "  lr: 2.0e-5\n"
      "  shift: -3.5\n"
      "quoted: \"12\"\n"
      "single: 'true'\n"
      "text: soft light, a view:the end #1\n");
  EXPECT_EQ(value["model"], (json{{"name", "Wan_T2V_1300M"},
                                  {"width", 800},
                                  {"from_pretrained", nullptr},
                                  {"cache_dir", nullptr},
                                  {"layers", {1, 2, 4}},
                                  {"patch", {1, 2}},
                                  {"gated", true},
                                  {"lr", 2.0e-5},
                                  {"shift", -3.5}}));
  EXPECT_EQ(value["quoted"], "12");
  EXPECT_EQ(value["single"], "true");
  EXPECT_EQ(value["text"], "soft light, a view:the end");
}

TEST_F(YamlConfig, TextsThatLookLikeNumbersStayTexts) {
  const json value = read("a: 1.2.3\nb: inf\nc: 0x10\nd: 12px\ne: +7\nf: nan\ng: 1e999\nh: +-5\n");
  EXPECT_EQ(value, (json{{"a", "1.2.3"},
                         {"b", "inf"},
                         {"c", "0x10"},
                         {"d", "12px"},
                         {"e", 7},
                         {"f", "nan"},
                         {"g", "1e999"},
                         {"h", "+-5"}}));
}

TEST_F(YamlConfig, WhatIsWrongAndWhere) {
  EXPECT_NE(problem("a: [1, 2\nb: 3\n").find("not valid YAML: line "), std::string::npos);
  EXPECT_NE(problem("- 1\n- 2\n").find("holds array, want a YAML map"), std::string::npos);
  EXPECT_NE(problem("").find("the file is empty"), std::string::npos);
  EXPECT_NE(problem("a: 1\na: 2\n").find("line 2: the key \"a\" is given twice"), std::string::npos);
  EXPECT_NE(problem("a: &x 1\nb: *x\n").find("not valid YAML: line 2: an alias"), std::string::npos);
  EXPECT_NE(problem("a: 1\n---\nb: 2\n").find("line 2: a second document"), std::string::npos);
  EXPECT_NE(problem("[1]: 2\n").find("a key must be a scalar"), std::string::npos);
  EXPECT_NE(problem("a: " + std::string(500, '[') + std::string(500, ']')).find("more than 64 nested levels"),
            std::string::npos);
  EXPECT_NE(problem("a: !!python/name:os.system x\n").find("line 1: a tag"), std::string::npos);
  EXPECT_THROW(read_yaml_object(path.string() + ".nowhere"), Error);
}

}  // namespace
}  // namespace tessera
