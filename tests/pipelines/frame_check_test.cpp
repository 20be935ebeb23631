#include "pipelines/frame_check.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace tessera {
namespace {

at::Tensor gray(double value) {
  return at::full({1, 3, 2, 4, 4}, value);
}

std::string problem_of(const std::vector<at::Tensor>& chunks) {
  FrameCheck check;
  for (const auto& chunk : chunks) check.add(chunk);
  return problem_text(check.problem());
}

TEST(FrameCheck, OrdinaryFramesPass) {
  EXPECT_EQ(problem_of({at::rand({1, 3, 4, 8, 8})}), "");
  EXPECT_EQ(problem_of({}), "");
}

TEST(FrameCheck, BlackAndFlatAreFoundOnlyWhenNothingElseIsThere) {
  EXPECT_EQ(problem_of({gray(0), gray(0)}), "black");
  EXPECT_EQ(problem_of({gray(0.4), gray(0.4)}), "of a single color");
  EXPECT_EQ(problem_of({gray(0), gray(0.4)}), "");  // a clip that fades in
  at::Tensor dim = gray(0);
  dim[0][1][0][2][2] = 3.0 / 255.0;
  EXPECT_EQ(problem_of({dim}), "");
}

TEST(FrameCheck, ColorsAreJudgedEachByItself) {
  at::Tensor red = gray(0);
  red.select(1, 0).fill_(1.0);
  EXPECT_EQ(problem_of({red}), "of a single color");
}

TEST(FrameCheck, OneBadNumberIsEnough) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    at::Tensor frames = at::rand({1, 3, 2, 4, 4});
    frames[0][2][1][3][3] = bad;
    EXPECT_EQ(problem_of({frames, at::rand({1, 3, 4, 4, 4})}), "not finite");
  }
}

}  // namespace
}  // namespace tessera
