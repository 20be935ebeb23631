#include "core/text.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace tessera {
namespace {

TEST(Joined, PutsSeparatorsBetweenItemsOnly) {
  EXPECT_EQ(joined(std::vector<std::string>{}), "");
  EXPECT_EQ(joined(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(joined(std::vector<std::string>{"a", "", "c"}), "a, , c");
  EXPECT_EQ(joined(std::vector<int64_t>{3, 4, 5}, "x"), "3x4x5");
}

TEST(Joined, TakesAWayToWriteAnItem) {
  const std::map<std::string, int> items = {{"a", 1}, {"b", 2}};
  EXPECT_EQ(joined(items, "; ", [](const auto& item) { return item.first + "=" + std::to_string(item.second); }),
            "a=1; b=2");
}

TEST(Counted, OneHasNoPlural) {
  EXPECT_EQ(counted(0, "frame"), "0 frames");
  EXPECT_EQ(counted(1, "frame"), "1 frame");
  EXPECT_EQ(counted(2, "frame"), "2 frames");
  EXPECT_EQ(counted(1, "class is", "classes are"), "1 class is");
  EXPECT_EQ(counted(21, "class is", "classes are"), "21 classes are");
}

TEST(WrapText, BreaksAtSpacesAndIndents) {
  EXPECT_EQ(wrap_text("aa bb cc dd", 5, 2), "aa bb\n  cc dd");
  EXPECT_EQ(wrap_text("abcdefgh ij", 5, 1), "abcdefgh\n ij");
  EXPECT_EQ(wrap_text("", 5, 1), "");
}

}  // namespace
}  // namespace tessera
