#include "kernels/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "kernels/activation.h"
#include "kernels/pack.h"
#include "kernels/wide_product_simd.h"
#include "tests/support/fixture.h"
#include "tests/support/instruction_sets.h"

namespace tessera {
namespace {

using Sizes = std::array<int64_t, 3>;  // rows, inputs, outputs

// One number; fewer than a tile, a panel and a group; whole ones; one more than whole blocks of inputs and columns.
const std::vector<Sizes> kSizes = {Sizes{1, 1, 1}, {5, 37, 50},    {12, 64, 32},
                                   {13, 768, 128}, {25, 769, 129}, {26, 1600, 160}};

at::Tensor noise(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype = at::kBFloat16) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions().dtype(at::kFloat))
      .to(dtype);
}

at::Tensor exact(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Activation activation) {
  const at::Tensor y = x.to(at::kDouble).matmul(weight.to(at::kDouble).t()) + bias.to(at::kDouble);
  return activation == Activation::kGelu ? at::gelu(y, "tanh") : y;
}

/// Calls body() with one and with three threads.
template <typename Body>
void for_some_threads(const Body& body) {
  const int before = at::get_num_threads();
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    body();
  }
  at::set_num_threads(before);
}

/// Rows multiplied alone, with others, and by other numbers of threads are the same bytes.
template <typename Product>
void expect_rows_independent(const at::Tensor& x, const Product& product) {
  const at::Tensor all = product(x);
  for_some_threads([&] {
    EXPECT_TRUE(at::equal(product(x), all));
    for (int64_t row = 0; row < x.size(0); row += 7)
      EXPECT_TRUE(at::equal(product(x.narrow(0, row, 1)), all.narrow(0, row, 1))) << row;
    EXPECT_TRUE(at::equal(product(x.narrow(0, 3, 20).contiguous()), all.narrow(0, 3, 20)));
  });
}

class WideLinear : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_wide_product()) GTEST_SKIP() << "this machine has no AVX-512";
  }
};

TEST_F(WideLinear, EqualsFloat64) {
  for (const auto& [rows, inputs, outputs] : kSizes)
    for (const Activation activation : {Activation::kNone, Activation::kGelu}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << inputs << " x " << outputs);
      const at::Tensor x = noise({rows, inputs}, 1), weight = noise({outputs, inputs}, 2), bias = noise({outputs}, 3);
      const at::Tensor want = exact(x, weight, bias, activation), y = wide_linear(x, weight, bias, activation);
      EXPECT_EQ(y.scalar_type(), at::kBFloat16);
      // Half a unit of bfloat16's eight bits for each number, not for the largest alone.
      const at::Tensor missed = (y.to(at::kDouble) - want).abs() - want.abs() / 256;
      EXPECT_LE(missed.max().item<double>(), 1e-4);
    }
}

TEST_F(WideLinear, WithoutBiasAndWithMoreDimensions) {
  const at::Tensor x = noise({2, 3, 40}, 1), weight = noise({33, 40}, 2);
  const at::Tensor y = wide_linear(x, weight, {}, Activation::kNone);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({2, 3, 33}));
  EXPECT_CLOSE(y, exact(x, weight, at::zeros({33}), Activation::kNone), 4e-3);
}

TEST_F(WideLinear, WholeNumbersAreExact) {
  // 1 + 2 + ... + 1000 would lose its end if a block of inputs were left out or counted twice.
  const at::Tensor x = at::ones({13, 1000}, at::kBFloat16);
  at::Tensor weight = at::zeros({130, 1000}, at::kBFloat16);
  weight.select(1, 0).fill_(1);
  weight.select(1, 767).fill_(2);
  weight.select(1, 768).fill_(4);
  weight.select(1, 999).fill_(8);
  EXPECT_TRUE(wide_linear(x, weight, {}, Activation::kNone).eq(15).all().item<bool>());
}

TEST_F(WideLinear, RowsDoNotDependOnOthersNorOnThreads) {
  const at::Tensor weight = noise({200, 900}, 2), bias = noise({200}, 3);
  expect_rows_independent(noise({40, 900}, 1),
                          [&](const at::Tensor& x) { return wide_linear(x, weight, bias, Activation::kGelu); });
}

TEST_F(WideLinear, ANanStaysInItsRow) {
  at::Tensor x = noise({14, 50}, 1);
  x[13][49] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = wide_linear(x, noise({40, 50}, 2), {}, Activation::kNone);
  EXPECT_TRUE(y[13].isnan().all().item<bool>());
  EXPECT_FALSE(y.narrow(0, 0, 13).isnan().any().item<bool>());
}

/// What int8 makes of activations: codes times scales, row by row.
at::Tensor quantized(const at::Tensor& numbers) {
  const at::Tensor wide = numbers.to(at::kFloat), largest = wide.abs().amax(1, true);
  const at::Tensor codes = at::round(wide * (127 / largest).masked_fill(largest == 0, 0));
  return codes.to(at::kDouble) * (largest / 127).to(at::kDouble);
}

at::Tensor int8_product_of(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           Activation activation = Activation::kNone) {
  return int8_linear(x, *packed_weight(int8_tensor(weight, x.scalar_type())), bias, activation);
}

TEST(Int8Linear, ByHand) {
  // Largest magnitudes of 127 make the scales 1, and 63.5 makes 0.5: the numbers are their own codes, or twice.
  const at::Tensor x = at::tensor({127.0f, -1.0f, 64.0f, 0.0f, 2.0f, 63.5f, -0.5f, 1.0f, 1.0f, 1.0f}).view({2, 5});
  const at::Tensor weight = at::tensor({127.0f, 0.0f, 0.0f, 5.0f, 1.0f, -1.0f, -127.0f, 2.0f, 0.0f, 3.0f}).view({2, 5});
  const at::Tensor y = int8_product_of(x, weight, at::tensor({0.5f, -1.0f}));
  const at::Tensor want = at::tensor({16131.5f, 133.0f, 8071.0f, 4.0f}).view({2, 2});
  test::for_each_instruction_set([&] {
    EXPECT_CLOSE(int8_product_of(x, weight, at::tensor({0.5f, -1.0f})), want, 1e-7);
  });
  EXPECT_CLOSE(y, want, 1e-7);
}

TEST(Int8Linear, EveryVariantEqualsTheProductOfTheCodes) {
  test::for_each_instruction_set([] {
    for (const auto& [rows, inputs, outputs] : kSizes)
      for (const auto dtype : {at::kFloat, at::kBFloat16})
        for (const Activation activation : {Activation::kNone, Activation::kGelu}) {
          SCOPED_TRACE(testing::Message() << rows << " x " << inputs << " x " << outputs << " in " << dtype);
          const at::Tensor x = noise({rows, inputs}, 1, dtype), weight = noise({outputs, inputs}, 2);
          const at::Tensor numbers = unpacked(packed_tensor(pack(weight, PackedType::kInt8)), at::kDouble);
          const at::Tensor bias = noise({outputs}, 3), y = int8_product_of(x, weight, bias, activation);
          EXPECT_EQ(y.scalar_type(), dtype);
          EXPECT_CLOSE(y, exact(quantized(x), numbers, bias, activation), dtype == at::kFloat ? 2e-6 : 4e-3);
        }
  });
}

TEST(Int8Linear, RowsDoNotDependOnOthersNorOnThreads) {
  const at::Tensor weight = int8_tensor(noise({300, 100}, 2), at::kBFloat16), bias = noise({300}, 3);
  expect_rows_independent(noise({300, 100}, 1), [&](const at::Tensor& x) {
    return int8_linear(x, *packed_weight(weight), bias, Activation::kGelu);
  });
}

TEST(Int8Linear, LargestSumsDoNotOverflow) {
  const int64_t inputs = 1 << 16;
  const at::Tensor x = at::full({1, inputs}, 127.0f), weight = at::full({1, inputs}, 127.0f);
  const double want = 127.0 * 127 * static_cast<double>(inputs);
  test::for_each_instruction_set([&] {
    EXPECT_NEAR(int8_product_of(x, weight, {}).item<double>(), want, 1e-6 * want);
    EXPECT_NEAR(int8_product_of(x, -weight, {}).item<double>(), -want, 1e-6 * want);
  });
  EXPECT_FALSE(fits_int8({1, inputs + 1}));
  EXPECT_THROW(int8_tensor(at::ones({1, inputs + 1}), at::kFloat), c10::Error);
}

TEST(Int8Linear, RowsOfZerosGiveTheBiasAndBadNumbersStayVisible) {
  at::Tensor x = noise({14, 21}, 1, at::kFloat);
  x[1].fill_(0);
  x[2].fill_(1e-45);  // the inverse of such a scale is infinite
  x[5][20] = std::numeric_limits<float>::quiet_NaN();
  x[13][0] = -std::numeric_limits<float>::infinity();
  const at::Tensor weight = noise({40, 21}, 2), bias = noise({40}, 3, at::kFloat);
  test::for_each_instruction_set([&] {
    const at::Tensor y = int8_product_of(x, weight, bias);
    EXPECT_TRUE(at::equal(y[1], bias));
    EXPECT_TRUE(at::equal(y[2], bias));
    EXPECT_FALSE(y[5].isfinite().any().item<bool>());
    EXPECT_FALSE(y[13].isfinite().any().item<bool>());
    EXPECT_TRUE(y.narrow(0, 6, 7).isfinite().all().item<bool>());
  });
}

TEST(Int8Tensor, HoldsTheNumbersOfPack) {
  for (const Sizes& sizes : kSizes) {
    at::Tensor weight = noise({sizes[2], sizes[1]}, 4);
    weight[0].fill_(0);
    const at::Tensor packed = packed_tensor(pack(weight, PackedType::kInt8)), want = unpacked(packed, at::kFloat);
    const at::Tensor from_plain = int8_tensor(weight, at::kBFloat16), from_packed = int8_tensor(packed, at::kFloat);
    EXPECT_EQ(from_plain.scalar_type(), at::kBFloat16);
    EXPECT_EQ(number_format(from_plain), "int8");
    EXPECT_TRUE(at::equal(unpacked(from_plain, at::kFloat), want));
    EXPECT_TRUE(at::equal(unpacked(from_packed, at::kFloat), want));
    EXPECT_TRUE(same_packed(from_plain, from_packed));
    EXPECT_TRUE(all_finite(*packed_weight(from_plain)));
  }
}

TEST(Int8Tensor, QuantizesOtherPackedNumbersAgain) {
  const at::Tensor weight = noise({130, 256}, 4), packed = packed_tensor(pack(weight, PackedType::kQ4K));
  const at::Tensor want = packed_tensor(pack(unpacked(packed, at::kFloat), PackedType::kInt8));
  EXPECT_TRUE(at::equal(unpacked(int8_tensor(packed, at::kFloat), at::kFloat), unpacked(want, at::kFloat)));
  EXPECT_THROW(packed_rows(int8_tensor(weight, at::kFloat), 0, 1), c10::Error);
}

}  // namespace
}  // namespace tessera
