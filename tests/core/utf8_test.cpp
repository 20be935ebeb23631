#include "core/utf8.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Utf8, EveryCodePointGoesThereAndBack) {
  for (uint32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 37) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, code);
    size_t at = 0;
    ASSERT_EQ(next_code_point(text, at), code);
    ASSERT_EQ(at, text.size());
  }
}

TEST(Utf8, MalformedTextIsNone) {
  EXPECT_TRUE(is_utf8_text("a \xF0\x9F\x8E\x89 \xD9\x85"));
  EXPECT_TRUE(is_utf8_text(""));
  for (const std::string& text :
       {std::string("\xFF"), std::string("\x80"), std::string("\xC0\x80"), std::string("\xC1\xBF"),
        std::string("\xE0\x9F\xBF"), std::string("\xED\xA0\x80"), std::string("\xF0\x8F\xBF\xBF"),
        std::string("\xF4\x90\x80\x80"), std::string("\xF8\x88\x80\x80\x80"), std::string("\xE2\x82"),
        std::string("\xC3"), std::string("a\0b", 3)})
    EXPECT_FALSE(is_utf8_text(text));
}

TEST(Utf8, ShorteningKeepsCharactersWhole) {
  EXPECT_EQ(shortened("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened("abcdefg", 6), "abc...");
  const std::string party = "\xF0\x9F\x8E\x89";
  EXPECT_EQ(shortened(party + party + party, 8), party + "...");
  EXPECT_EQ(shortened(party + party + party, 6), "...");
  EXPECT_EQ(shortened("\x80\x80\x80\x80\x80\x80\x80", 5), "...");
  for (size_t most = 3; most < 20; ++most)
    EXPECT_TRUE(is_utf8_text(shortened("añb\u20ac" + party + "ñéü" + party, most)));
}

}  // namespace
}  // namespace tessera
