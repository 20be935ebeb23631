#include "core/error.h"

#include <gtest/gtest.h>

namespace tessera {

TEST(NearestMatch, FindsTyposAndRejectsStrangers) {
  const std::vector<std::string> names = {"flow_euler", "unipc", "ddim"};
  EXPECT_EQ(nearest_match("flow_eular", names), "flow_euler");
  EXPECT_EQ(nearest_match("uncip", {"unipc"}), "");  // two edits of five letters: not near
  EXPECT_EQ(nearest_match("banana", names), "");
}

TEST(NearestMatch, SwappedNeighborsAreOneEdit) {
  EXPECT_EQ(nearest_match("stpes", {"size", "steps"}), "steps");
  EXPECT_EQ(nearest_match("unpic", {"unipc"}), "unipc");
  EXPECT_EQ(nearest_match("--stpes", {"--size", "--class", "--steps"}), "--steps");
}

TEST(Suggestion, NamesTheNearestElseAll) {
  EXPECT_EQ(suggestion("ddin", {"ddim", "ddpm"}), " (did you mean ddim?)");
  EXPECT_EQ(suggestion("banana", {"ddim", "ddpm"}), " (one of: ddim, ddpm)");
}

}  // namespace tessera
