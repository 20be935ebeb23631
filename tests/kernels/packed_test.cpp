#include "kernels/packed.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "kernels/hadamard.h"
#include "kernels/pack.h"

namespace tessera {
namespace {

at::Tensor bytes_of(const std::vector<int>& values) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(values.size())}, at::kByte);
  for (size_t i = 0; i < values.size(); ++i) bytes[static_cast<int64_t>(i)] = values[i];
  return bytes;
}

/// 2 x 4 int8 numbers with a scale for each row.
PackedWeight two_rows() {
  return {.type = PackedType::kInt8,
          .shape = {2, 4},
          .bytes = bytes_of({1, 2, 255, 128, 10, 20, 30, 40}),
          .scales = at::tensor({0.5f, 2.0f}).view({2, 1}),
          .scale_rows = 1,
          .scale_columns = 4};
}

TEST(Packed, ScalesOfRows) {
  const at::Tensor numbers = unpacked(packed_tensor(two_rows()), at::kFloat);
  EXPECT_TRUE(at::equal(numbers, at::tensor({0.5f, 1.0f, -0.5f, -64.0f, 20.0f, 40.0f, 60.0f, 80.0f}).view({2, 4})));
}

TEST(Packed, ScalesOfSquaresThatDoNotDivideTheSides) {
  PackedWeight weight{.type = PackedType::kInt8, .shape = {3, 3}, .bytes = bytes_of(std::vector<int>(9, 1))};
  weight.scales = at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({2, 2});
  weight.scale_rows = weight.scale_columns = 2;
  const at::Tensor want = at::tensor({1.0f, 1.0f, 2.0f, 1.0f, 1.0f, 2.0f, 3.0f, 3.0f, 4.0f}).view({3, 3});
  EXPECT_TRUE(at::equal(unpacked(packed_tensor(weight), at::kFloat), want));
}

TEST(Packed, Q4_0ByHand) {
  // 1.0 as float16 is 0x3c00; a byte 0x90 has the code 0 in the first half (-8) and 9 in the second (1).
  std::vector<int> block(18, 0x88);
  block[0] = 0x00;
  block[1] = 0x3c;
  block[2] = 0x90;
  at::Tensor want = at::zeros({1, 32});
  want[0][0] = -8;
  want[0][16] = 1;
  const at::Tensor packed = packed_tensor({.type = PackedType::kQ4_0, .shape = {1, 32}, .bytes = bytes_of(block)});
  EXPECT_TRUE(at::equal(unpacked(packed, at::kFloat), want));
}

TEST(Packed, ATensorHasTheShapeAndNoOperations) {
  const at::Tensor packed = packed_tensor(two_rows(), at::kBFloat16);
  EXPECT_EQ(packed.sizes(), at::IntArrayRef({2, 4}));
  EXPECT_EQ(packed.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(packed.is_floating_point());
  EXPECT_TRUE(packed.is_cpu());
  EXPECT_EQ(packed_as(packed, at::kFloat).scalar_type(), at::kFloat);
  EXPECT_THROW(packed + 1, c10::Error);
  EXPECT_THROW(packed.to(at::kFloat), c10::Error);
  EXPECT_EQ(packed_weight(at::ones({2})), nullptr);
  EXPECT_EQ(packed_weight(at::Tensor()), nullptr);
  EXPECT_EQ(number_format(packed), "int8");
  EXPECT_EQ(number_format(at::ones({2})), "fp32");
}

TEST(Packed, RowsAreCutWithTheirScales) {
  const at::Tensor packed = packed_tensor(two_rows());
  EXPECT_TRUE(at::equal(unpacked(packed_rows(packed, 1, 1), at::kFloat), unpacked(packed, at::kFloat).narrow(0, 1, 1)));
  EXPECT_THROW(packed_rows(packed, 1, 2), c10::Error);
  PackedWeight one_scale = two_rows();
  one_scale.scales = at::full({1, 1}, 3.0f);
  one_scale.scale_rows = 2;
  const at::Tensor whole = packed_tensor(one_scale);
  EXPECT_TRUE(at::equal(unpacked(packed_rows(whole, 1, 1), at::kFloat), unpacked(whole, at::kFloat).narrow(0, 1, 1)));
}

TEST(Packed, AProductIsAddedToRows) {
  PackedWeight weight = two_rows();
  weight.added = {{at::tensor({1.0f, 10.0f}).view({2, 1}), at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).view({1, 4})}};
  const at::Tensor packed = packed_tensor(weight);
  const at::Tensor want = at::tensor({1.5f, 3.0f, 2.5f, -60.0f, 30.0f, 60.0f, 90.0f, 120.0f}).view({2, 4});
  EXPECT_TRUE(at::equal(unpacked(packed, at::kFloat), want));
  EXPECT_TRUE(at::equal(unpacked(packed, at::kBFloat16), want.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(unpacked(packed_rows(packed, 1, 1), at::kFloat), want.narrow(0, 1, 1)));
  weight.added = {{at::ones({3, 1}), at::ones({1, 4})}};
  EXPECT_THROW(packed_tensor(weight), c10::Error);
}

TEST(Packed, GatherTakesRowsInOrder) {
  const at::Tensor table = packed_tensor(two_rows(), at::kFloat), ids = at::tensor({1, 0, 1}, at::kLong).view({1, 3});
  EXPECT_TRUE(at::equal(gather_rows(table, ids), unpacked(table, at::kFloat).index({ids})));
  EXPECT_THROW(gather_rows(table, at::tensor({2}, at::kLong)), c10::Error);
}

TEST(Packed, WhatDoesNotFitIsRefused) {
  PackedWeight weight = two_rows();
  weight.shape = {2, 5};
  EXPECT_THROW(packed_tensor(weight), c10::Error);
  weight = two_rows();
  weight.scales = at::ones({3, 1});
  EXPECT_THROW(packed_tensor(weight), c10::Error);
  weight = two_rows();
  weight.rotation = 16;
  EXPECT_THROW(packed_tensor(weight), c10::Error);
  EXPECT_EQ(packed_bytes(PackedType::kQ4K, 512), 288);
  EXPECT_EQ(packed_bytes(PackedType::kQ4K, 500), std::nullopt);
  EXPECT_EQ(packed_bytes(PackedType::kHalf, INT64_MAX), std::nullopt);
}

TEST(Packed, NumbersThatAreNotFiniteAreFound) {
  PackedWeight weight{.type = PackedType::kE4m3, .shape = {1, 2}, .bytes = bytes_of({0x7e, 0x01})};
  EXPECT_TRUE(all_finite(weight));
  weight.bytes = bytes_of({0x01, 0xff});
  EXPECT_FALSE(all_finite(weight));
  weight = {.type = PackedType::kE5m2, .shape = {1, 2}, .bytes = bytes_of({0x7b, 0xfc})};
  EXPECT_FALSE(all_finite(weight));
  weight = {.type = PackedType::kE4m3, .shape = {1, 2}, .bytes = bytes_of({1, 1}), .scales = at::full({1, 1}, 1e38f)};
  weight.scale_columns = 2;
  EXPECT_FALSE(all_finite(weight));  // 448e38
  // The second factor of Q5_K, infinity.
  std::vector<int> block(176, 0);
  EXPECT_TRUE(all_finite({.type = PackedType::kQ5K, .shape = {256}, .bytes = bytes_of(block)}));
  block[3] = 0x7c;
  EXPECT_FALSE(all_finite({.type = PackedType::kQ5K, .shape = {256}, .bytes = bytes_of(block)}));
  // Q6_K has its factor at the end.
  block.assign(210, 0);
  block[209] = 0x7e;
  EXPECT_FALSE(all_finite({.type = PackedType::kQ6K, .shape = {256}, .bytes = bytes_of(block)}));
}

TEST(Hadamard, IsItsOwnInverse) {
  EXPECT_TRUE(is_hadamard_size(4));
  EXPECT_TRUE(is_hadamard_size(256));
  for (const int64_t size : {0, 1, 2, 8, 12, 32, 16384}) EXPECT_FALSE(is_hadamard_size(size)) << size;
  float row[4] = {1, 0, 0, 2};
  hadamard(row, 4);
  EXPECT_FLOAT_EQ(row[0], -0.5f);  // (1 - 2) / 2
  EXPECT_FLOAT_EQ(row[1], 1.5f);   // (1 + 2) / 2
  EXPECT_FLOAT_EQ(row[2], 1.5f);   // (1 + 2) / 2
  EXPECT_FLOAT_EQ(row[3], 0.5f);   // (-1 + 2) / 2
  float long_row[64] = {};
  long_row[5] = 1;
  hadamard(long_row, 64);
  EXPECT_FLOAT_EQ(std::abs(long_row[17]), 0.125f);
  hadamard(long_row, 64);
  EXPECT_NEAR(long_row[5], 1, 1e-6);
  EXPECT_NEAR(long_row[6], 0, 1e-6);
}

TEST(Pack, ComesCloseInEveryType) {
  const at::Tensor numbers = at::randn({16, 512}, at::make_generator<at::CPUGeneratorImpl>(3), at::kFloat);
  const std::map<PackedType, double> most = {
      {PackedType::kQ4_0, 0.11},  {PackedType::kQ4_1, 0.09}, {PackedType::kQ5_0, 0.06},  {PackedType::kQ5_1, 0.05},
      {PackedType::kQ8_0, 0.008}, {PackedType::kQ4K, 0.08},  {PackedType::kInt8, 0.012}, {PackedType::kE4m3, 0.04}};
  ASSERT_EQ(most.size(), types_to_pack().size());
  for (const PackedType type : types_to_pack()) {
    const at::Tensor back = unpacked(packed_tensor(pack(numbers, type)), at::kFloat);
    const double error = ((back - numbers).norm() / numbers.norm()).item<double>();
    EXPECT_LT(error, most.at(type)) << packed_name(type);
    EXPECT_GT(error, 0) << packed_name(type);
  }
}

/// Numbers that the type holds exactly come back exactly, and zeros stay zeros.
TEST(Pack, WhatFitsIsKept) {
  at::Tensor numbers = (at::arange(512, at::kFloat) % 16).view({2, 256});  // scale 1, minimum 0
  EXPECT_TRUE(at::allclose(unpacked(packed_tensor(pack(numbers, PackedType::kQ4K)), at::kFloat), numbers, 0, 2e-2));
  for (const PackedType type : types_to_pack()) {
    const at::Tensor zeros = at::zeros({2, 256});
    EXPECT_TRUE(at::equal(unpacked(packed_tensor(pack(zeros, type)), at::kFloat), zeros)) << packed_name(type);
    EXPECT_THROW(pack(at::ones({2, 2, 2}), type), c10::Error);
  }
  EXPECT_THROW(pack(at::ones({2, 32}), PackedType::kQ4K), c10::Error);
}

}  // namespace
}  // namespace tessera
