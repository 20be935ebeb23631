#include "metrics/video_tally.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(VideoTally, SaysHowVideosWereReadAndWarnsOnceOfEachKind) {
  VideoTally tally;
  EXPECT_TRUE(tally.empty());
  EXPECT_EQ(tally.words(), "");
  tally.add("a.mp4", {.matrix = "bt601", .source = "assumed"});
  EXPECT_EQ(tally.words(), "1 video as BT.601 limited range (untagged, so assumed)");
  EXPECT_TRUE(tally.warnings().empty());
  tally.add("b.mp4", {.matrix = "bt709", .source = "tagged", .turned = true});
  tally.add("c.mp4", {.matrix = "bt601", .source = "assumed"});
  tally.add("d.mp4", {.matrix = "bt2020", .source = "tagged", .full_range = true, .hdr = true});
  tally.add("e.mp4", {.matrix = "bt2020", .source = "chosen", .hdr = true});
  tally.add("f.gif", {.matrix = "rgb", .source = "tagged", .full_range = true, .other_angle = true});
  EXPECT_EQ(tally.words(),
            "1 video as BT.2020 full range (tagged), 1 as BT.2020 limited range (by --matrix), 2 as BT.601 limited "
            "range (untagged, so assumed), 1 as BT.709 limited range (tagged), 1 as RGB or gray, 1 turned upright");
  ASSERT_EQ(tally.warnings().size(), 2u);
  EXPECT_EQ(tally.warnings()[0].find("2 videos (the first is d.mp4) in HDR or BT.2020 color"), 0u);
  EXPECT_EQ(tally.warnings()[1].find("1 video (f.gif) to be shown at an angle"), 0u);
}

}  // namespace
}  // namespace tessera
