#include "core/json_syntax.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tessera {
namespace {

/// "line:column: problem", or "none".
std::string mistake(const std::string& text) {
  EXPECT_EQ(nlohmann::json::accept(text), !find_json_mistake(text)) << text;
  const auto found = find_json_mistake(text);
  return found ? std::to_string(found->line) + ":" + std::to_string(found->column) + ": " + found->problem : "none";
}

TEST(JsonSyntax, CorrectTextHasNone) {
  for (const char* text :
       {"1", "-0.5e+3", "\"a\\u00e9\\ud83c\\udf89\\n\"", "[]", "{}", " [1, {\"a\": [true, false, null]}] \n",
        "\xEF\xBB\xBF{\"a\": \"\xC3\xA9\"}", "0", "[[[]]]", "1e-999"})
    EXPECT_EQ(mistake(text), "none") << text;
}

TEST(JsonSyntax, Commas) {
  EXPECT_EQ(mistake("[\"a\",\"b\",]"), "1:9: remove the trailing comma");
  EXPECT_EQ(mistake("{\"a\": 1,\n}"), "1:8: remove the trailing comma");
  EXPECT_EQ(mistake("[1,,2]"), "1:4: two commas; remove one");
  EXPECT_EQ(mistake("[,1]"), "1:2: a value is missing before this comma");
  EXPECT_EQ(mistake("[\"a\"\n \"b\"]"), "2:2: a comma is missing before this");
  EXPECT_EQ(mistake("{\"a\": 1 \"b\": 2}"), "1:9: a comma is missing before this");
}

TEST(JsonSyntax, CommentsAreNot) {
  EXPECT_EQ(mistake("[1, // one\n2]"), "1:5: comments are not JSON; remove this one");
  EXPECT_EQ(mistake("# head\n[1]"), "1:1: comments are not JSON; remove this one");
  EXPECT_EQ(mistake("{\"a\": /* x */ 1}"), "1:7: comments are not JSON; remove this one");
}

TEST(JsonSyntax, Words) {
  EXPECT_EQ(mistake("[NaN]"), "1:2: NaN is not a number in JSON; write a number, or leave the key out");
  EXPECT_EQ(mistake("{\"a\": -Infinity}"),
            "1:7: -Infinity is not a number in JSON; write a number, or leave the key out");
  EXPECT_EQ(mistake("[True]"), "1:2: write true instead of True");
  EXPECT_EQ(mistake("[None]"), "1:2: write null instead of None");
  EXPECT_EQ(mistake("[a cat]"), "1:2: a has no quotes; text stands in double quotes");
  EXPECT_EQ(mistake("['a']"), "1:2: text stands in straight double quotes, \"like this\"");
  EXPECT_EQ(mistake("[\xE2\x80\x9C"
                    "a\xE2\x80\x9D]"),
            "1:2: text stands in straight double quotes, \"like this\"");
  EXPECT_EQ(mistake("{a: 1}"), "1:2: a key stands in double quotes: {\"key\": value}");
  EXPECT_EQ(mistake("{\"a\" 1}"), "1:6: the key \"a\" wants : and a value after it");
  EXPECT_EQ(mistake("[\xC2\xA0"
                    "1]"),
            "1:2: an invisible character that is no plain space; replace it by a space");
}

TEST(JsonSyntax, Numbers) {
  EXPECT_EQ(mistake("[{\"cfg_scale\":1e999}]"), "1:15: 1e999 is too large; numbers go up to about 1.8e308");
  EXPECT_EQ(mistake("[007]"), "1:2: 007: a number does not begin with 0; remove it, or use quotes for text");
  EXPECT_EQ(mistake("[0x1F]"), "1:2: 0x1F: numbers are decimal; write it so");
  EXPECT_EQ(mistake("[.5]"), "1:2: a number begins with a digit; write 0 before the point");
  EXPECT_EQ(mistake("[5.]"), "1:2: 5.: a digit follows the point");
  EXPECT_EQ(mistake("[+5]"), "1:2: a number has no + in front; remove it");
  EXPECT_EQ(mistake("[1e]"), "1:2: 1e: a whole number follows the e");
  EXPECT_EQ(mistake("[-]"), "1:2: - is no number; a digit follows the minus");
  EXPECT_EQ(mistake("[12cm]"), "1:2: 12cm is no number; text stands in double quotes");
}

TEST(JsonSyntax, Texts) {
  EXPECT_EQ(mistake("[\"a\n\"]"), "1:2: this text is not closed on its line; add the missing \", or write \\n");
  EXPECT_EQ(mistake("[\"a"), "1:2: this text is not closed; add the missing \"");
  EXPECT_EQ(mistake("[\"a\tb\"]"), "1:4: a tab inside a text; write \\t");
  EXPECT_EQ(mistake("[\"a\x1b[\"]"), "1:4: the control character \\x1b inside a text; remove it");
  EXPECT_EQ(mistake("[\"C:\\dir\"]"), "1:5: \\d is no escape; write \\\\ for a backslash");
  EXPECT_EQ(mistake("[\"\\u12\"]"), "1:3: four hexadecimal digits follow \\u");
  EXPECT_EQ(mistake("[\"\\ud83c\"]"), "1:3: \\ud83c is half of a character; write the character itself");
  EXPECT_EQ(mistake("[\"\xFF\"]"), "1:3: a byte that is not UTF-8; save the file as UTF-8");
  // Columns count characters, not bytes.
  EXPECT_EQ(mistake("[\"\xC3\xA9\xC3\xA9\",]"), "1:6: remove the trailing comma");
}

TEST(JsonSyntax, BracketsAndEnds) {
  EXPECT_EQ(mistake(""), "1:1: there is nothing here; want a value");
  EXPECT_EQ(mistake("\n\n[1,\n2"), "4:2: the [ of line 3 is not closed; add ]");
  EXPECT_EQ(mistake("{\"a\": {\"b\": 1}"), "1:15: the { of line 1 is not closed; add }");
  EXPECT_EQ(mistake("[1}"), "1:3: a } closes the [ of line 1; want ]");
  EXPECT_EQ(mistake("{\"a\": }"), "1:7: a value is missing before this }");
  EXPECT_EQ(mistake("{} {}"),
            "1:4: more text follows the end of the value; remove it, or for one value a line name the file .jsonl");
  EXPECT_EQ(find_json_mistake(std::string(100000, '['))->problem, "more than 64 nested levels");
}

TEST(JsonSyntax, MessagesAreOneShortLine) {
  for (const std::string& text :
       std::vector<std::string>{"[" + std::string(100000, 'x'), std::string(100000, '7') + "x", "[\x1b\n", "[\xFF"}) {
    const auto found = find_json_mistake(text);
    ASSERT_TRUE(found);
    EXPECT_LT(found->problem.size(), 200u);
    for (const char c : found->problem) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
  }
}

}  // namespace
}  // namespace tessera
