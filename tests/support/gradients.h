#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/fixture.h"

namespace tessera::test {

inline at::Tensor noise(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat);
}

/// Output, then the gradients of x and weight, of a function of both.
template <typename Function>
std::vector<at::Tensor> with_gradients(const Function& function, const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor input = x.detach().clone().requires_grad_(), gain = weight.detach().clone().requires_grad_();
  const at::Tensor y = function(input, gain);
  (y.to(at::kFloat) * noise(y.sizes(), 99)).sum().backward();
  return {y.detach(), input.grad(), gain.grad()};
}

inline void expect_all_close(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected,
                             double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "result " << i);
    EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    EXPECT_CLOSE(actual[i], expected[i], tolerance);
  }
}

/// Of one operation with float32 arithmetic and results in `dtype`.
inline double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? 1e-2 : 2e-6;
}

}  // namespace tessera::test
