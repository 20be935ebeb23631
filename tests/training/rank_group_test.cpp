#include "training/rank_group.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/media/folder_test.h"

namespace tessera {
namespace {

Ranks rank_of(int rank, int size) {
  return {.rank = rank, .size = size, .local_rank = rank, .local_size = size, .launcher = "torchrun"};
}

class RankGroups : public test::FolderTest {};

TEST_F(RankGroups, EveryRankGetsTheSameSums) {
  constexpr int kRanks = 3;
  constexpr int64_t kNumbers = (5 << 20) / 4 + 1;  // two pieces
  std::vector<std::vector<at::Tensor>> results(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      const auto group = RankGroup::meet(rank_of(rank, kRanks), folder.path());
      for (int round = 0; round < 4; ++round) {
        const at::Tensor large = at::full({kNumbers}, rank + 0.1 * round, at::kFloat),
                         small = at::full({2}, rank * 10.0, at::kFloat);
        group->sum({large, small, at::empty({0}, at::kFloat)});
        results[static_cast<size_t>(rank)].push_back(large);
        results[static_cast<size_t>(rank)].push_back(small);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& tensors : results) {
    ASSERT_EQ(tensors.size(), 8u);
    for (size_t i = 0; i < tensors.size(); ++i) EXPECT_TRUE(at::equal(tensors[i], results[0][i]));
  }
  EXPECT_NEAR(results[0][2][kNumbers - 1].item<double>(), 3.3, 1e-5);  // 0.1 + 1.1 + 2.1
  EXPECT_EQ(results[0][3][1].item<double>(), 30);
}

}  // namespace
}  // namespace tessera
