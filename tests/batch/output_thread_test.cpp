#include "batch/output_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace tessera {
namespace {

TEST(OutputThread, DoesPiecesInTheirOrder) {
  std::vector<int> done;
  OutputThread thread(100);
  for (int i = 0; i < 50; ++i) thread.post([&done, i] { done.push_back(i); }, 10);
  thread.finish();
  ASSERT_EQ(done.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
}

TEST(OutputThread, IsAtMostSoFarBehind) {
  std::atomic<int> waiting = 0, most = 0;
  OutputThread thread(30);
  for (int i = 0; i < 40; ++i) {
    thread.post(
        [&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          --waiting;
        },
        10);
    most = std::max(most.load(), ++waiting);
  }
  thread.finish();
  EXPECT_LE(most.load(), 4);  // the one just handed over is counted before its place is taken
  bool done = false;
  thread.post([&] { done = true; }, 1000);  // a piece above the limit goes alone
  thread.finish();
  EXPECT_TRUE(done);
}

TEST(OutputThread, WhatAPieceThrowsComesBackAndLaterPiecesAreDropped) {
  int after = 0;
  OutputThread thread(100);
  thread.post([] { throw std::runtime_error("full"); }, 0);
  EXPECT_THROW(thread.finish(), std::runtime_error);
  EXPECT_THROW(thread.post([&] { ++after; }, 0), std::runtime_error);
  EXPECT_EQ(after, 0);
}

TEST(OutputThread, ItsEndDoesWhatWasHandedOver) {
  int done = 0;
  {
    OutputThread thread(100);
    for (int i = 0; i < 10; ++i) thread.post([&] { ++done; }, 5);
  }
  EXPECT_EQ(done, 10);
}

}  // namespace
}  // namespace tessera
