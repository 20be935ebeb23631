#include "kernels/direct_conv.h"

#include "kernels/instruction_set.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

struct ConvCase {
  int64_t in, out, rows, columns, stride;
};

/// Through direct_conv with a border of zeros, on a picture of 11x9.
at::Tensor run_direct(DirectType type, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const ConvCase& c) {
  const int64_t pad_rows = c.rows / 2, pad_columns = c.columns / 2;
  const auto dtype = type == DirectType::kFloat ? at::kFloat : at::kBFloat16;
  const at::Tensor from =
      at::constant_pad_nd(x.permute({1, 2, 0}), {0, 0, pad_columns, pad_columns, pad_rows, pad_rows})
          .to(dtype)
          .contiguous();
  const int64_t height = (x.size(1) - 1) / c.stride + 1, width = (x.size(2) - 1) / c.stride + 1;
  const at::Tensor to = at::zeros({height, width, c.out}, dtype);
  const at::Tensor rows = weight.permute({0, 2, 3, 1}).contiguous();
  at::Tensor packed = at::empty({packed_weight_count(c.rows, c.columns * c.in, c.out)}, dtype);
  pack_direct_weights(type, rows.const_data_ptr<float>(), c.rows, c.columns * c.in, c.out, packed.data_ptr());
  DirectConv conv;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t column = 0; column < width; ++column) {
      conv.from.push_back(static_cast<int32_t>((y * from.size(1) + column) * c.stride * c.in));
      conv.to.push_back(static_cast<int32_t>((y * width + column) * c.out));
    }
  conv.rows = c.rows;
  conv.row_pitch = from.size(1) * c.in;
  conv.run = c.columns * c.in;
  conv.channels = c.out;
  conv.weights = packed.const_data_ptr();
  conv.bias = bias.const_data_ptr<float>();
  direct_conv(type, conv, from.const_data_ptr(), to.data_ptr());
  return to.to(at::kFloat).permute({2, 0, 1});
}

void expect_direct_equals_convolution(DirectType type, const ConvCase& c) {
  SCOPED_TRACE(c10::str(c.in, " to ", c.out, ", ", c.rows, "x", c.columns));
  const at::Tensor x = at::rand({c.in, 11, 9}).sub_(0.3).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor weight = at::randn({c.out, c.in, c.rows, c.columns}).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor bias = at::randn({c.out});
  if (!has_direct_conv(type)) {
    EXPECT_THROW(run_direct(type, x, weight, bias, c), c10::Error);
    return;
  }
  const at::Tensor wanted =
      at::relu(at::conv2d(x.unsqueeze(0), weight, bias, c.stride, {c.rows / 2, c.columns / 2}))[0];
  EXPECT_CLOSE(run_direct(type, x, weight, bias, c), wanted, type == DirectType::kFloat ? 1e-5 : 4e-3);
}

TEST(DirectConv, EqualsConvolutionAtEveryWidthOfItsTiles) {
  for (const DirectType type : {DirectType::kFloat, DirectType::kBfloat16})
    for (const ConvCase& c : {ConvCase{4, 32, 3, 3, 2}, ConvCase{16, 48, 1, 1, 1}, ConvCase{48, 64, 5, 5, 1},
                              ConvCase{32, 80, 3, 3, 1}, ConvCase{16, 96, 1, 7, 1}, ConvCase{32, 160, 7, 1, 1}})
      expect_direct_equals_convolution(type, c);
}

/// Sums of pixels that begin at multiples of 8 values and are stored backwards, from two rows of taps each.
at::Tensor raw_sums(const at::Tensor& from, const at::Tensor& weight, const std::vector<int32_t>& places) {
  const int64_t out = weight.size(0), run = weight.size(2), count = static_cast<int64_t>(places.size());
  const at::Tensor to = at::full({count, out}, -1.0f);
  at::Tensor packed = at::empty({packed_weight_count(2, run, out)}, at::kBFloat16);
  pack_direct_weights(DirectType::kBfloat16, weight.const_data_ptr<float>(), 2, run, out, packed.data_ptr());
  DirectConv conv;
  conv.from = places;
  for (int64_t i = 0; i < count; ++i) conv.to.push_back(static_cast<int32_t>((count - 1 - i) * out));
  conv.rows = 2;
  conv.row_pitch = 2000;
  conv.run = run;
  conv.channels = out;
  conv.weights = packed.const_data_ptr();
  conv.store = DirectStore::kRawFloat;
  direct_conv(DirectType::kBfloat16, conv, from.const_data_ptr(), to.data_ptr());
  return to.flip(0);
}

/// Tile registers take sixteen pixels at equal distances; what is left over, and what lies apart, is their business.
TEST(DirectConv, RawSumsOfAnyNumberOfPixelsAtAnyDistance) {
  if (!has_direct_conv(DirectType::kBfloat16)) GTEST_SKIP() << "needs AVX512-BF16";
  const at::Tensor from = at::randn({5000}).to(at::kBFloat16);
  for (const int64_t run : {int64_t{64}, int64_t{48}})  // whole steps of a tile, and not
    for (const int64_t out : {32, 48, 80, 160})
      for (const size_t count : {1, 15, 16, 17, 31, 32, 33, 60}) {
        const at::Tensor weight = at::randn({out, 2, run}).to(at::kBFloat16).to(at::kFloat);
        std::vector<int32_t> places;
        for (size_t i = 0; i < count; ++i) places.push_back(static_cast<int32_t>(i < 40 ? 24 * i : 800 + 16 * i));
        const at::Tensor sums = raw_sums(from, weight, places);
        for (size_t i = 0; i < count; ++i) {
          const at::Tensor taps = at::stack({from.narrow(0, places[i], run), from.narrow(0, places[i] + 2000, run)});
          const at::Tensor want = weight.to(at::kDouble).flatten(1).mv(taps.to(at::kDouble).flatten());
          ASSERT_LT((sums[static_cast<int64_t>(i)] - want).abs().max().item<double>(), 1e-4)
              << run << " " << out << " " << count << " " << i;
        }
      }
}

TEST(DirectConv, IsRefusedWithoutItsInstructions) {
  const LimitInstructions limit(InstructionSet::kAvx2);
  for (const DirectType type : {DirectType::kFloat, DirectType::kBfloat16}) {
    EXPECT_FALSE(has_direct_conv(type));
    expect_direct_equals_convolution(type, {16, 48, 1, 1, 1});
  }
}

}  // namespace
}  // namespace tessera
