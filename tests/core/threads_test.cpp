#include "core/threads.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "tests/support/refuse_threads.h"

namespace tessera {
namespace {

/// The sum of 0 to 99 and the number of calls, by work that takes one number at a time.
struct Sum {
  std::atomic<int64_t> next{0}, total{0}, calls{0};

  explicit Sum(int64_t threads) {
    run_on_threads(threads, [this] {
      ++calls;
      for (int64_t i = next++; i < 100; i = next++) total += i;
    });
  }
};

TEST(RunOnThreads, CallsWorkOnEach) {
  for (const int64_t threads : {1, 2, 5}) {
    const Sum sum(threads);
    EXPECT_EQ(sum.calls, threads);
    EXPECT_EQ(sum.total, 4950);
  }
}

TEST(RunOnThreads, GoesOnWithTheThreadsThatStart) {
  for (const int64_t left : {0, 1, 3}) {
    test::threads_left = left;
    const Sum sum(5);
    test::threads_left = INT64_MAX;
    EXPECT_EQ(sum.calls, 1 + left);
    EXPECT_EQ(sum.total, 4950);
  }
}

TEST(RunOnThreads, ThrowsWhatACallThrewAfterAllHaveEnded) {
  std::atomic<int64_t> calls{0};
  EXPECT_THROW(run_on_threads(4,
                              [&] {
                                if (++calls == 2) throw std::runtime_error("the second");
                              }),
               std::runtime_error);
  EXPECT_EQ(calls, 4);
}

TEST(UseThreadsHere, ConcernsThisThreadAlone) {
  const int before = at::get_num_threads();
  std::thread([&] {
    use_threads_here(before + 1);
    at::ones({100000}).add_(1);  // an operation that asks for the number
    EXPECT_EQ(at::get_num_threads(), before + 1);
  }).join();
  EXPECT_EQ(at::get_num_threads(), before);
}

}  // namespace
}  // namespace tessera
