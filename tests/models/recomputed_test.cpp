#include "models/recomputed.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

/// tanh(x w) * y, and how often it was computed.
struct Part {
  at::Tensor weight = at::arange(6, at::kFloat).view({2, 3}).div(7).requires_grad_();
  int calls = 0;

  at::Tensor operator()(const std::vector<at::Tensor>& in) {
    ++calls;
    return at::tanh(in[0].matmul(weight)) * in[1];
  }
};

at::Tensor leaf(double first) {
  return (at::arange(8, at::kFloat).view({4, 2}) / 5 + first).requires_grad_();
}

TEST(Recomputed, GradientsAreThoseOfThePlainCall) {
  Part plain, again;
  const at::Tensor factor = at::arange(12, at::kFloat).view({4, 3});  // needs no gradient
  const at::Tensor x = leaf(0.1), twin = leaf(0.1);
  const at::Tensor wanted = plain({x * 2, factor});
  const at::Tensor found = recomputed([&](const auto& in) { return again(in); }, {twin * 2, factor});
  EXPECT_TRUE(at::equal(found, wanted));
  wanted.square().sum().backward();
  found.square().sum().backward();
  EXPECT_EQ(again.calls, 2);
  EXPECT_TRUE(at::equal(twin.grad(), x.grad()));
  EXPECT_TRUE(at::equal(again.weight.grad(), plain.weight.grad()));
}

TEST(Recomputed, WeightsLearnThoughNoInputNeedsAGradient) {
  Part part;
  const at::Tensor x = at::ones({4, 2}), factor = at::ones({4, 3});
  recomputed([&](const auto& in) { return part(in); }, {x, factor}).sum().backward();
  EXPECT_GT(part.weight.grad().abs().min().item<double>(), 0);
}

TEST(Recomputed, ACallWithoutGradientsIsThePlainOne) {
  Part part;
  const c10::NoGradGuard no_gradients;
  const at::Tensor out = recomputed([&](const auto& in) { return part(in); }, {at::ones({4, 2}), at::ones({4, 3})});
  EXPECT_FALSE(out.requires_grad());
  EXPECT_EQ(part.calls, 1);
}

}  // namespace
}  // namespace tessera
