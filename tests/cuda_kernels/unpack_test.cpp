#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/packed.h"
#include "tests/support/emulated_kernels.h"

namespace tessera {
namespace {

using test::EmulatedKernels;
using test::GuardedMemory;
using test::kDeviceTypes;

/// Bytes of every value, with the factors of blocks among them: NaN and infinities too.
at::Tensor any_bytes(int64_t count, uint64_t seed) {
  return (test::noise({count}, seed) * 1000).remainder(256).to(at::kByte);
}

/// The same bits, any NaN for any other.
void expect_same(const at::Tensor& got, const at::Tensor& want) {
  EXPECT_TRUE(at::equal(got.isnan(), want.isnan()));
  EXPECT_TRUE(at::equal(at::nan_to_num(got, 7), at::nan_to_num(want, 7)));
  EXPECT_TRUE(at::equal(at::signbit(at::nan_to_num(got)), at::signbit(at::nan_to_num(want))));
}

TEST(DeviceUnpack, EveryFormatEqualsTheCpusBits) {
  const GuardedMemory guarded;
  for (int type = 0; type <= static_cast<int>(PackedType::kFloat); ++type)
    for (const auto dtype : kDeviceTypes) {
      const auto packed = static_cast<PackedType>(type);
      const PackedFormat& format = format_of(packed);
      SCOPED_TRACE(testing::Message() << format.name << " as " << dtype);
      const int64_t rows = 5, columns = format.numbers == 1 ? 37 : 2 * format.numbers;
      const PackedWeight weight{.type = packed,
                                .shape = {rows, columns},
                                .bytes = any_bytes(*packed_bytes(packed, rows * columns), 1 + type)};
      const at::Tensor want = at::empty({3, columns}, dtype), got = at::empty({3, columns}, dtype);
      unpack_rows(weight, 1, 3, want);
      const EmulatedKernels emulated(7);
      unpack_rows(weight, 1, 3, got);
      expect_same(got, want);
    }
}

TEST(DeviceUnpack, EveryCodeOfEightBits) {
  for (const auto type : {PackedType::kInt8, PackedType::kE4m3, PackedType::kE5m2}) {
    const PackedWeight weight{.type = type, .shape = {1, 256}, .bytes = at::arange(256).to(at::kByte)};
    const at::Tensor want = at::empty({1, 256}), got = at::empty({1, 256});
    unpack_rows(weight, 0, 1, want);
    const EmulatedKernels emulated;
    unpack_rows(weight, 0, 1, got);
    expect_same(got, want);
  }
}

TEST(DeviceUnpack, ScalesOfRowsColumnsAndSquaresThatDoNotDivideTheSides) {
  const GuardedMemory guarded;
  const std::vector<std::pair<int64_t, int64_t>> kScales = {{1, 11}, {7, 1}, {2, 3}, {7, 11}};
  for (const auto& [scale_rows, scale_columns] : kScales) {
    PackedWeight weight{.type = PackedType::kInt8, .shape = {7, 11}, .bytes = any_bytes(77, 1)};
    weight.scale_rows = scale_rows;
    weight.scale_columns = scale_columns;
    weight.scales = test::noise({(6 + scale_rows) / scale_rows, (10 + scale_columns) / scale_columns}, 2);
    const at::Tensor want = at::empty({5, 11}), got = at::empty({5, 11});
    unpack_rows(weight, 2, 5, want);
    const EmulatedKernels emulated;
    unpack_rows(weight, 2, 5, got);
    expect_same(got, want);
  }
}

TEST(DeviceUnpack, RefusesWhatTheDeviceCannotDo) {
  PackedWeight weight{.type = PackedType::kInt8, .shape = {1, 16}, .bytes = any_bytes(16, 1)};
  weight.rotation = 4;
  const at::Tensor out = at::empty({1, 16});
  unpack_rows(weight, 0, 1, out);
  const EmulatedKernels emulated;
  EXPECT_THROW(unpack_rows(weight, 0, 1, out), c10::Error);
}

TEST(DeviceKernels, ErrorsAndVersionsAreTold) {
  const EmulatedKernels emulated;
  const at::Tensor x = at::ones({2});
  const auto* kernels = device_kernels(x);
  ASSERT_NE(kernels, nullptr);
  cuda::Depthwise too_large{};
  too_large.kernel[0] = 1;
  too_large.kernel[1] = too_large.kernel[2] = 11;
  EXPECT_THROW(run_kernel(*kernels, x, kernels->depthwise, too_large), c10::Error);
  EXPECT_THROW(load_device_kernels("/nowhere/libtessera_cuda.so"), Error);
  EXPECT_THROW(load_device_kernels("libm.so.6"), Error);  // a library without the symbol
}

}  // namespace
}  // namespace tessera
