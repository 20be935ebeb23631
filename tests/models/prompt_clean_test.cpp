#include "models/umt5/prompt_clean.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace tessera {
namespace {

TEST(CleanPrompt, CollapsesWhiteSpace) {
  EXPECT_EQ(clean_prompt(""), "");
  EXPECT_EQ(clean_prompt(" \t\n "), "");
  EXPECT_EQ(clean_prompt("  a \t\r\n cat  "), "a cat");
  EXPECT_EQ(clean_prompt("a\u00a0\u3000\u2009cat\u0085"), "a cat");
  EXPECT_EQ(clean_prompt("a\u200bcat"), "a\u200bcat");  // zero width is no white space
}

TEST(CleanPrompt, ResolvesNamesTwice) {
  EXPECT_EQ(clean_prompt("salt &amp; pepper"), "salt & pepper");
  EXPECT_EQ(clean_prompt("&amp;lt;b&amp;gt;"), "<b>");
  EXPECT_EQ(clean_prompt("&amp;amp;amp;"), "&amp;");
  EXPECT_EQ(clean_prompt("caf&eacute; &ndash; &Alpha;&sup2; &hearts;&apos;"), "café – Α² ♥'");
  EXPECT_EQ(clean_prompt("a&nbsp;&ensp;cat"), "a cat");
}

TEST(CleanPrompt, TakesTheLongestNameThatNeedsNoSemicolon) {
  EXPECT_EQ(clean_prompt("&copy 2024 &notit; &ltb"), "© 2024 ¬it; <b");
  EXPECT_EQ(clean_prompt("&ndash 1 &unknown; & &; R&D AT&T"), "&ndash 1 &unknown; & &; R&D AT&T");
}

TEST(CleanPrompt, ResolvesNumbersAndRepairsBadOnes) {
  EXPECT_EQ(clean_prompt("&#65;&#x42;&#X43 &#128512;"), "ABC 😀");
  EXPECT_EQ(clean_prompt("&#128;&#x99;"), "€™");
  EXPECT_EQ(clean_prompt("&#0;&#xD800;&#1114112;&#99999999999999999999;"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(clean_prompt("a&#1;b&#xFFFE;c"), "abc");
  EXPECT_EQ(clean_prompt("&# &#x &#;"), "&# &#x &#;");
}

TEST(CleanPrompt, KeepsOtherText) {
  EXPECT_EQ(clean_prompt("日本語 مرحبا 👩‍🚀 </s>"), "日本語 مرحبا 👩‍🚀 </s>");
}

TEST(CleanPrompt, SaysWhereTextIsNotUtf8) {
  for (const std::string bad :
       {"ok \xff", "ok \xc3", "ok \xe2\x82", "ok \xed\xa0\x80", "ok \xf4\x90\x80\x80", "ok \xc0\x80"}) {
    try {
      clean_prompt(bad);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("position 3"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace tessera
