#include "training/batch_parts.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/gradients.h"

namespace tessera {
namespace {

using test::noise;

/// A linear layer with a matrix that Muon would take, a bias, and a weight that the loss does not depend on.
struct Layer {
  at::Tensor weight = noise({3, 4}, 1), bias = noise({3}, 2), unused = noise({2}, 3);
  Optimizer optimizer{params(), {.muon = {"weight"}}};

  ParamList params() {
    ParamList list;
    list.add("weight", weight, {3, 4});
    list.add("bias", bias, {3});
    list.add("unused", unused, {2});
    return list;
  }
};

constexpr int64_t kSamples = 7;

struct Outcome {
  std::vector<double> means;
  at::Tensor weight, bias, unused;
};

Outcome outcome(int64_t parts) {
  Layer layer;
  const at::Tensor x = noise({kSamples, 4}, 4), y = noise({kSamples, 3}, 5);
  const std::vector<double> means =
      backward_in_parts(layer.optimizer, kSamples, parts, [&](int64_t first, int64_t count) {
        const at::Tensor error =
            at::linear(x.narrow(0, first, count), layer.weight, layer.bias) - y.narrow(0, first, count);
        return std::vector{error.square().mean(), error.abs().mean()};
      });
  return {means, layer.weight.grad().clone(), layer.bias.grad().clone(), layer.unused.grad().clone()};
}

TEST(BatchParts, MeansAndGradientsAreThoseOfTheWholeBatch) {
  const Outcome whole = outcome(1);
  for (const int64_t parts : {2, 3, 7}) {
    SCOPED_TRACE(parts);
    const Outcome found = outcome(parts);
    ASSERT_EQ(found.means.size(), 2U);
    for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(found.means[i], whole.means[i], 1e-6);
    EXPECT_CLOSE(found.weight, whole.weight, 1e-6);
    EXPECT_CLOSE(found.bias, whole.bias, 1e-6);
    EXPECT_EQ(found.unused.abs().sum().item<double>(), 0);
  }
}

TEST(BatchParts, AreAddedInTheirOrder) {
  const Outcome first = outcome(5);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(at::equal(outcome(5).weight, first.weight));
}

TEST(BatchParts, GradientsAreAddedToThoseThatAreThere) {
  Layer layer;
  const MeansOfSamples means = [&](int64_t, int64_t) { return std::vector{layer.bias.sum()}; };
  backward_in_parts(layer.optimizer, 4, 2, means);
  backward_in_parts(layer.optimizer, 4, 2, means);
  EXPECT_CLOSE(layer.bias.grad(), at::full({3}, 2.0F), 1e-6);
}

/// Each on one thread: oneDNN's gradients of filters would wait for threads that it cannot have.
TEST(BatchParts, ComputeOnOneThreadEach) {
  const int threads = at::get_num_threads();
  at::Tensor filters = noise({8, 8, 3, 3, 3}, 6);
  ParamList params;
  params.add("filters", filters, {8, 8, 3, 3, 3});
  Optimizer optimizer(params, {});
  std::atomic<int> most = 0;
  backward_in_parts(optimizer, 4, 2, [&](int64_t first, int64_t) {
    most = std::max(most.load(), at::get_num_threads());
    const at::Tensor x = noise({2, 8, 5, 16, 16}, 7 + static_cast<uint64_t>(first)).to(at::kBFloat16);
    return std::vector{at::conv3d(x, filters.to(at::kBFloat16)).to(at::kFloat).square().mean()};
  });
  EXPECT_EQ(most, 1);
  EXPECT_EQ(at::get_num_threads(), threads);
}

TEST(BatchParts, AFailureReachesTheCaller) {
  Layer layer;
  const auto failing = [&](int64_t first, int64_t) -> std::vector<at::Tensor> {
    if (first > 0) throw Error("no more data");
    return {layer.bias.sum()};
  };
  EXPECT_THROW(backward_in_parts(layer.optimizer, 4, 3, failing), Error);
}

TEST(BatchParts, AreAsManyAsThreadsThatHaveASample) {
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  EXPECT_EQ(parts_of_batch(8, at::kCPU), 3);
  EXPECT_EQ(parts_of_batch(2, at::kCPU), 2);
  EXPECT_EQ(parts_of_batch(1, at::kCPU), 1);  // three threads share its operations
  EXPECT_EQ(parts_of_batch(8, at::kCUDA), 1);
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace tessera
