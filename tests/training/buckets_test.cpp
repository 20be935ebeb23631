#include "training/buckets.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "training/epoch_batches.h"
#include "training/linearize.h"

namespace tessera {
namespace {

TEST(Buckets, SizesHaveAboutTheAreaAndDivide) {
  const std::vector<FrameSize> buckets = bucket_sizes({832, 480}, 64);
  EXPECT_EQ(std::count(buckets.begin(), buckets.end(), FrameSize{832, 480}), 1);
  EXPECT_EQ(std::count(buckets.begin(), buckets.end(), FrameSize{480, 832}), 1);
  EXPECT_EQ(std::count(buckets.begin(), buckets.end(), FrameSize{640, 576}), 1);  // 399360 / 640 = 624, down to 64s
  for (const FrameSize& size : buckets) {
    EXPECT_LE(size.width * size.height, 832 * 480);
    EXPECT_LE(size.width, 4 * size.height);
    EXPECT_LE(size.height, 4 * size.width);
  }
  EXPECT_EQ(bucket_sizes({16, 16}, 16), (std::vector<FrameSize>{{16, 16}}));
}

TEST(Buckets, TheNearestRatioWinsAndOfEqualsTheLarger) {
  const std::vector<FrameSize> buckets = {{32, 64}, {48, 48}, {32, 32}, {64, 32}};
  EXPECT_EQ(nearest_bucket(buckets, {1920, 1080}), (FrameSize{64, 32}));
  EXPECT_EQ(nearest_bucket(buckets, {1080, 1920}), (FrameSize{32, 64}));
  EXPECT_EQ(nearest_bucket(buckets, {100, 90}), (FrameSize{48, 48}));
}

TEST(Buckets, AFrameIsCutAroundItsCenter) {
  const at::Tensor frame = at::zeros({4, 8, 3}, at::kByte);
  frame.narrow(1, 2, 4).fill_(255);
  const at::Tensor fitted = fit_frame(frame, {4, 4});  // columns 2 to 5 as they are
  EXPECT_EQ(fitted.sizes(), (std::vector<int64_t>{3, 4, 4}));
  EXPECT_TRUE(at::equal(fitted, at::ones({3, 4, 4})));
  const at::Tensor small = fit_frame(frame, {4, 2});  // halved
  EXPECT_EQ(small.sizes(), (std::vector<int64_t>{3, 2, 4}));
  EXPECT_LE(small.abs().max().item<double>(), 1.0);
}

TEST(Buckets, FramesAtAnotherRate) {
  EXPECT_EQ(resampled_frames(5, {16, 1}, {16, 1}), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(resampled_frames(6, {30, 1}, {15, 1}), (std::vector<int64_t>{0, 2, 4}));
  EXPECT_EQ(resampled_frames(3, {8, 1}, {16, 1}), (std::vector<int64_t>{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(resampled_frames(6, {24, 1}, {16, 1}), (std::vector<int64_t>{0, 1, 3, 4}));
  EXPECT_EQ(resampled_frames(1, {30000, 1001}, {16, 1}), (std::vector<int64_t>{0}));
}

TEST(Buckets, ClipsOfAVideo) {
  EXPECT_EQ(clip_lengths(17, 17, 5, 4), (std::vector<int64_t>{17}));
  EXPECT_EQ(clip_lengths(40, 17, 5, 4), (std::vector<int64_t>{17, 17, 5}));
  EXPECT_EQ(clip_lengths(38, 17, 5, 4), (std::vector<int64_t>{17, 17}));  // 4 left: too short
  EXPECT_EQ(clip_lengths(16, 17, 5, 4), (std::vector<int64_t>{13}));
  EXPECT_TRUE(clip_lengths(4, 17, 5, 4).empty());
}

TEST(EpochBatches, AnEpochHasEveryItemOnceInBatchesOfOneGroup) {
  const std::vector<int64_t> groups = {0, 1, 0, 0, 1, 0, 0};
  EpochBatches plan(groups, 2, 7);
  EXPECT_EQ(plan.batches_an_epoch(), 4);  // 2 + 2 + 1 of group 0, 2 of group 1
  std::vector<std::vector<int64_t>> first;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < 4; ++i) {
      const std::vector<int64_t> batch = plan.batch(epoch * 4 + i);
      if (epoch == 0) first.push_back(batch);
      for (const int64_t item : batch) {
        EXPECT_EQ(groups[static_cast<size_t>(item)], groups[static_cast<size_t>(batch.front())]);
        seen.push_back(item);
      }
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6}));
  }
  EpochBatches again(groups, 2, 7);
  for (int64_t i = 3; i >= 0; --i) EXPECT_EQ(again.batch(i), first[static_cast<size_t>(i)]);
}

TEST(Linearize, TheLayoutOfAGrid) {
  EXPECT_EQ(derived_layout({21, 30, 50}), (Extent3{3, 5, 10}));
  EXPECT_EQ(derived_layout({5, 8, 8}), (Extent3{5, 2, 2}));
  EXPECT_EQ(derived_layout({1, 30, 52}), (Extent3{1, 5, 13}));  // of 52: 4 and 13 are 4.67 and 4.33 away
}

}  // namespace
}  // namespace tessera
