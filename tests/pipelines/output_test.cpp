#include "pipelines/output.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Output, LargestOutputIsRawPixelsForPicturesAndAQuarterForVideos) {
  Job job;
  job.width = 100;
  job.height = 10;
  job.frames = 4;
  job.count = 2;
  job.output = "x.mp4";
  EXPECT_EQ(largest_output_bytes(job), 2 * (3000 + 16384));
  job.output = "f_%03d.png";
  EXPECT_EQ(largest_output_bytes(job), 2 * (12000 + 4 * 16384));
}

}  // namespace
}  // namespace tessera
