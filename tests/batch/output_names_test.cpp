#include "batch/output_names.h"

#include "tests/support/errors.h"

namespace tessera {
namespace {

std::string claim(OutputNames& names, const std::string& name, bool frames = false) {
  return test::refusal_of([&] { names.claim(name, frames, "id of " + name); });
}

TEST(OutputNames, OneOutputAName) {
  OutputNames names;
  EXPECT_EQ(claim(names, "a/x.png"), "accepted");
  EXPECT_EQ(claim(names, "a/y.png"), "accepted");
  EXPECT_EQ(claim(names, "A/X.png"), "the output A/X.png is also that of \"id of a/x.png\"");
}

TEST(OutputNames, AFileIsNoFolder) {
  OutputNames names;
  EXPECT_EQ(claim(names, "w.png"), "accepted");
  EXPECT_EQ(
      claim(names, "W.png/r.png"),
      "the output W.png/r.png lies in a folder named as the output of \"id of w.png\", which is a file; rename one");
  EXPECT_EQ(claim(names, "v.png/a/r.png"), "accepted");
  EXPECT_EQ(claim(names, "v.png"), "the output v.png is also the folder of v.png/a/r.png; rename one");
  EXPECT_NE(claim(names, "v.png/a"), "accepted");
  EXPECT_NE(claim(names, "manifest.jsonl/x.png"), "accepted");
  EXPECT_NE(claim(names, "index.html/x.png"), "accepted");
}

TEST(OutputNames, AFrameIsNoOtherOutput) {
  OutputNames names;
  EXPECT_EQ(claim(names, "f/%04d.png", true), "accepted");
  EXPECT_EQ(claim(names, "f/0003.png"), "the output f/0003.png is also a frame of \"id of f/%04d.png\"; rename one");
  EXPECT_EQ(claim(names, "f/003.png"), "accepted");
  EXPECT_EQ(claim(names, "f/x0003.png"), "accepted");
  EXPECT_EQ(claim(names, "g/b_01.png"), "accepted");
  EXPECT_NE(claim(names, "g/B_%02d.png", true), "accepted");
}

}  // namespace
}  // namespace tessera
