#include "core/natural_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace tessera {
namespace {

// Each comes before all that follow it.
TEST(NaturalOrder, DigitsAreNumbersAndTiesGoByBytes) {
  const std::vector<std::string> ordered = {"",
                                            "0",
                                            "01",
                                            "1",
                                            "1.png",
                                            "1a",
                                            "2",
                                            "09",
                                            "9",
                                            "10",
                                            "010b",
                                            "10c",
                                            "99",
                                            "100",
                                            "18446744073709551616",
                                            "18446744073709551617",
                                            "a",
                                            "a-1",
                                            "a0b9",
                                            "a0b10",
                                            "a00b11",
                                            "f1_10",
                                            "f2_9",
                                            "z",
                                            "\xC3\xA9"};
  for (size_t i = 0; i < ordered.size(); ++i) {
    for (size_t j = 0; j < ordered.size(); ++j)
      EXPECT_EQ(natural_less(ordered[i], ordered[j]), i < j) << ordered[i] << " and " << ordered[j];
  }
}

TEST(NaturalOrder, FramesWithoutPaddingAreInTheirOrder) {
  std::vector<std::string> names;
  for (int i = 1; i <= 120; ++i) names.push_back("frame" + std::to_string(i) + ".png");
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  ASSERT_NE(sorted, names);
  std::sort(sorted.begin(), sorted.end(), natural_less);
  EXPECT_EQ(sorted, names);
}

}  // namespace
}  // namespace tessera
