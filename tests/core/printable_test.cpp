#include "core/printable.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Printable, NothingThatATerminalObeysIsLeft) {
  EXPECT_EQ(printable_line("a \x1b[31mred\x1b[0m\x07 heart"), "a \\x1b[31mred\\x1b[0m\\x07 heart");
  EXPECT_EQ(printable_line("\x7f \xC2\x9B"
                           "2J"),
            "\\x7f \\u009b2J");
  EXPECT_EQ(printable_line("one\ntwo\r\tthree"), "one\\ntwo\\r\\tthree");
  EXPECT_EQ(printable_line(std::string("nul \0 here", 10)), "nul \\x00 here");
  // A mark that turns the direction of the text behind it, and a line separator.
  EXPECT_EQ(printable_line("gpj.\xE2\x80\xAEtxt \xE2\x80\xA8"), "gpj.\\u202etxt \\u2028");
}

TEST(Printable, OtherTextStaysAsItIs) {
  const std::string text = "a \"quoted\" \\ path, \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80 \xC3\xA9 \xE4\xBD\xA0";
  EXPECT_EQ(printable_line(text), text);
  EXPECT_EQ(printable_text("two\nlines\x1b"), "two\nlines\\x1b");
}

TEST(Printable, BytesThatAreNotUtf8AreShown) {
  EXPECT_EQ(printable_line("a\xFF"
                           "b\xE4\xBD"),
            "a\\xffb\\xe4\\xbd");
}

}  // namespace
}  // namespace tessera
