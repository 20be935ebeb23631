#include "checkpoints/class_names.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using test::contains;

std::string error_of(const std::string& text, int64_t classes = 1000) {
  return test::error_of([&] { ClassNames::imagenet().find_all(text, classes); });
}

TEST(ClassNames, ImageNetHasAThousandInItsOrder) {
  const ClassNames& names = ClassNames::imagenet();
  ASSERT_EQ(names.size(), 1000);
  EXPECT_EQ(names.name(0), "tench");
  EXPECT_EQ(names.name(207), "golden retriever");
  EXPECT_EQ(names.name(281), "tabby");
  EXPECT_EQ(names.name(859), "toaster");
  EXPECT_EQ(names.name(999), "toilet tissue");
  EXPECT_EQ(names.name(1000), "");
  for (const std::string& line : names.lines()) EXPECT_FALSE(line.empty());
}

TEST(ClassNames, FindsNumbersNamesAndLists) {
  const ClassNames& names = ClassNames::imagenet();
  EXPECT_EQ(names.find("207", 1000), 207);
  EXPECT_EQ(names.find("Golden Retriever", 1000), 207);
  EXPECT_EQ(names.find(" Strix nebulosa ", 1000), 24);
  EXPECT_EQ(names.find_all("207, 360,golden retriever", 1000), (std::vector<int64_t>{207, 360, 207}));
  EXPECT_EQ(names.find_all("great grey owl, great gray owl, Strix nebulosa", 1000), (std::vector<int64_t>{24}));
}

TEST(ClassNames, PrefersTheUsualNameAndTheCaseAsWritten) {
  const ClassNames& names = ClassNames::imagenet();
  EXPECT_EQ(names.find("harp", 1000), 594);  // 593 is "harmonica, mouth organ, harp, mouth harp"
  EXPECT_EQ(names.find("Cardigan", 1000), 264);
  EXPECT_EQ(names.find("cardigan", 1000), 474);
}

TEST(ClassNames, RefusesWhatIsNotOneClass) {
  EXPECT_TRUE(contains(error_of("crane"), "134 (crane), 517 (crane)")) << error_of("crane");
  EXPECT_TRUE(contains(error_of("maillot"), "638")) << error_of("maillot");
  EXPECT_TRUE(contains(error_of("golden retreiver"), "did you mean golden retriever?"));
  EXPECT_TRUE(contains(error_of("xyzzy quux frobnicate"), "no class is called"));
  EXPECT_TRUE(contains(error_of("1000"), "0 to 999"));
  EXPECT_TRUE(contains(error_of("-1"), "0 to 999"));
  EXPECT_TRUE(contains(error_of("99999999999999999999"), "0 to 999"));
  EXPECT_TRUE(contains(error_of("10", 10), "0 to 9"));
  EXPECT_TRUE(contains(error_of("207,"), "joined by commas"));
  EXPECT_TRUE(contains(error_of(""), "joined by commas"));
}

TEST(ClassNames, AModelWithoutNamesTakesNumbers) {
  const ClassNames none({});
  EXPECT_EQ(none.find("3", 10), 3);
  EXPECT_THROW(none.find("tench", 10), Error);
}

}  // namespace
}  // namespace tessera
