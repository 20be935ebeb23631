#include "core/located_yaml.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

using nlohmann::json;

TEST(LocatedYaml, ScalarsHaveAValueAndKeepTheirSpelling) {
  struct Case {
    std::string written;
    json value;
    bool is_text;
  };
  const std::vector<Case> cases = {
      {"1", 1, false},          {"1.5", 1.5, false},
      {"1.50", 1.5, true},      {"007", 7, true},
      {"-3", -3, false},        {"+7", 7, true},
      {".5", 0.5, true},        {"1e3", 1000.0, true},
      {"0x10", "0x10", true},   {"1.2.3", "1.2.3", true},
      {"yes", "yes", true},     {"true", true, false},
      {"+-5", "+-5", true},     {".inf", ".inf", true},
      {"1e999", "1e999", true}, {"9999999999999999999999", 9999999999999999999999.0, true},
  };
  for (const Case& wanted : cases) {
    const LocatedJson found = parse_located_yaml("[" + wanted.written + "]").values.at(0);
    EXPECT_EQ(found.scalar, wanted.value) << wanted.written;
    EXPECT_EQ(found.scalar.type(), wanted.value.type()) << wanted.written;
    EXPECT_EQ(found.text(), wanted.written);
    EXPECT_EQ(found.is_text(), wanted.is_text) << wanted.written;
  }
}

TEST(LocatedYaml, QuotedScalarsAreStringsAndEmptyOnesNull) {
  const LocatedJson list = parse_located_yaml("['1', \"null\", ~, null, True, \"\"]");
  const std::vector<json> want = {"1", "null", nullptr, nullptr, true, ""};
  ASSERT_EQ(list.values.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(list.values[i].scalar, want[i]) << i;
  EXPECT_TRUE(parse_located_yaml("a:\n").values.at(0).is_null());
}

TEST(LocatedYaml, MembersHaveTheLineOfTheirKey) {
  const LocatedJson map = parse_located_yaml("a: 1\nb:\n  - x\n  -\n    c: 2\na: 3\n");
  EXPECT_EQ(map.keys, (std::vector<std::string>{"a", "b", "a"}));
  EXPECT_EQ(map.values.at(1).line, 2);
  EXPECT_EQ(map.values.at(1).values.at(1).line, 5);
  EXPECT_EQ(map.values.at(2).line, 6);
}

TEST(LocatedYaml, MistakesAreToldInOurWords) {
  struct Case {
    const char* text;
    int64_t line;
    const char* words;
  };
  for (const Case& wanted :
       {Case{"prompts:\n  - a\n - b\n", 3, "want a key and a colon here"}, Case{"- a\nb: 1\n", 2, "want \"- \" here"},
        Case{"a: [1, 2\nb: 3\n", 2, "want , or ] here"}, Case{"a: {b: 1, c: 2\nd: 3\n", 2, "want , or } here"},
        Case{"a: [1,\nb: }", 2, "want a value here"}, Case{"prompts:\n\t- a\n", 2, "no value begins with a tab"},
        Case{"prompt: a cat: on a mat\n", 1, "put a text with \": \" in quotes"},
        Case{"prompts:\n  - a\nsteps\n", 4, "want a colon after the key"}, Case{"a: \"x\n", 2, "never ends"},
        Case{"a: \"\\q\"\n", 1, "no such escape"}}) {
    try {
      parse_located_yaml(wanted.text);
      ADD_FAILURE() << wanted.text;
    } catch (const SyntaxError& error) {
      EXPECT_EQ(error.line, wanted.line) << wanted.text;
      EXPECT_NE(error.problem.find(wanted.words), std::string::npos) << wanted.text << ": " << error.problem;
    }
  }
}

}  // namespace
}  // namespace tessera
