#include "core/frame_rate.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

std::string rate(const std::string& text) {
  const auto parsed = parse_frame_rate(text);
  return parsed ? frame_rate_text(*parsed) : "none";
}

TEST(FrameRates, WholeNumbersFractionsAndDecimals) {
  EXPECT_EQ(rate("24"), "24");
  EXPECT_EQ(rate("24.0"), "24");
  EXPECT_EQ(rate("24.000000"), "24");
  EXPECT_EQ(rate("30000/1001"), "30000/1001");
  EXPECT_EQ(rate("60000/2002"), "30000/1001");
  EXPECT_EQ(rate("25/1"), "25");
  EXPECT_EQ(rate("12.5"), "25/2");
  EXPECT_EQ(rate("29.975"), "1199/40");
  EXPECT_EQ(rate("14.985"), "2997/200");
  EXPECT_EQ(rate("1e1"), "10");
}

TEST(FrameRates, TelevisionRatesHoweverManyPlacesTheyHave) {
  for (const char* text : {"23.976", "23.98", "23.9760", "23.976024", "23.97602397602398", "23.976023976023978"})
    EXPECT_EQ(rate(text), "24000/1001") << text;
  for (const char* text : {"29.97", "29.970", "29.97003", "29.970029970029969"})
    EXPECT_EQ(rate(text), "30000/1001") << text;
  EXPECT_EQ(rate("47.952"), "48000/1001");
  EXPECT_EQ(rate("59.94"), "60000/1001");
  EXPECT_EQ(rate("119.88"), "120000/1001");
  EXPECT_EQ(rate("239.76"), "240000/1001");
  EXPECT_EQ(rate("29.9"), "299/10");
  EXPECT_EQ(rate("23.97"), "2397/100");
}

TEST(FrameRates, ManyPlacesMeanTheNearestSmallFraction) {
  EXPECT_EQ(rate("33.3333333"), "100/3");
  EXPECT_EQ(rate("16.6667"), "50/3");
  EXPECT_EQ(rate("12.3456789"), "1000/81");
}

TEST(FrameRates, OthersAreNone) {
  for (const char* text : {"", "0", "-24", "0/1", "1/0", "-1/2", "24/", "/1", "24/1/1", "24 fps", "nan", "inf", "1e99",
                           "99999999/7", "0.0", "9223372036854775808"})
    EXPECT_EQ(rate(text), "none") << text;
}

}  // namespace
}  // namespace tessera
