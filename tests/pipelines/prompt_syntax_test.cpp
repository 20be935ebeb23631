#include "pipelines/prompt_syntax.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

/// The first words of each note.
std::string said(const std::string& prompt) {
  std::string out;
  for (const std::string& note : literal_syntax_notes(prompt)) out += note.substr(0, note.find(' ')) + " ";
  return out;
}

TEST(PromptSyntax, WhatOtherProgramsObeyIsNamed) {
  EXPECT_EQ(said("a red heart <lora:style:0.8> on white"), "<lora:...> ");
  EXPECT_EQ(said("<hypernet:x:1>"), "<lora:...> ");
  EXPECT_EQ(said("(a red heart:1.3), [blue]"), "(word:1.2) ");
  EXPECT_EQ(said("(a cat: 2) "), "(word:1.2) ");
  EXPECT_EQ(said("a [cat:dog:0.5] or [cat|dog]"), "[a|b] ");
  EXPECT_EQ(said("{red|blue} heart"), "{a|b} ");
  EXPECT_EQ(said("a __colors__ heart"), "{a|b} ");
  EXPECT_EQ(said("a red heart AND a blue star"), "AND ");
  EXPECT_EQ(said("a cat BREAK a dog"), "AND ");
  EXPECT_EQ(literal_syntax_notes("(a:1.1) (b:1.2)"), literal_syntax_notes("(c:0.5)"));
}

TEST(PromptSyntax, OrdinaryTextIsNot) {
  for (const char* prompt :
       {"a cat (on a sofa), [blue] {red}", "a clock (at 10:30)", "a photo (16:9)", "snake__case", "a < b > c", "a: b",
        "CATS AND DOGS", "SANDY BREAKFAST x", "a | b", "(", "((()))", "[:]", "(:1.2)", ""})
    EXPECT_EQ(said(prompt), "") << prompt;
}

}  // namespace
}  // namespace tessera
