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

}  // namespace
}  // namespace tessera
