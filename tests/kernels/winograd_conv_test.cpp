#include "kernels/winograd_conv.h"

#include "kernels/direct_conv.h"
#include "kernels/instruction_set.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

struct WinogradCase {
  int64_t in, out, height, width, rows, columns;
  bool padded, to_float = false;
};

/// Through winograd_conv with a border that reaches as far as it says, into pixels of 16 values more, as in a block
/// where other layers write their channels.
at::Tensor run_winograd(const WinogradCase& c, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t pad_rows = c.padded ? c.rows / 2 : 0, pad_columns = c.padded ? c.columns / 2 : 0, pixel = c.out + 16;
  const int64_t height = c.height + 2 * pad_rows - c.rows + 1, width = c.width + 2 * pad_columns - c.columns + 1;
  const auto over = [](int64_t size, int64_t tile) { return (tile - size % tile) % tile; };
  const WinogradTile tile = winograd_tile(c.rows, c.columns);
  const at::Tensor from =
      at::constant_pad_nd(x.permute({1, 2, 0}), {0, 0, pad_columns, pad_columns + over(width, tile.columns), pad_rows,
                                                 pad_rows + over(height, tile.rows)})
          .to(at::kBFloat16)
          .contiguous();
  const at::Tensor to = at::full({height, width, pixel}, 7, c.to_float ? at::kFloat : at::kBFloat16);
  const at::Tensor packed = pack_winograd(winograd_filter_transform(weight), c.rows, c.columns);
  const WinogradConv conv{.rows = c.rows,
                          .columns = c.columns,
                          .height = height,
                          .width = width,
                          .in = c.in,
                          .out = c.out,
                          .from_pitch = from.size(1) * c.in,
                          .to = 16,
                          .to_pitch = width * pixel,
                          .to_pixel = pixel,
                          .to_float = c.to_float,
                          .weights = packed.const_data_ptr(),
                          .bias = bias.const_data_ptr<float>()};
  const at::Tensor scratch = at::empty({winograd_scratch_bytes(conv)}, at::kByte);
  winograd_conv(conv, from.const_data_ptr(), to.data_ptr(), scratch.data_ptr());
  EXPECT_TRUE(at::all(to.narrow(2, 0, 16) == 7).item<bool>()) << "channels of others";
  return to.narrow(2, 16, c.out).to(at::kFloat).permute({2, 0, 1});
}

void expect_winograd_equals_convolution(const WinogradCase& c) {
  SCOPED_TRACE(c10::str(c.in, " to ", c.out, ", ", c.height, "x", c.width, ", ", c.rows, "x", c.columns));
  const at::Tensor x = at::rand({c.in, c.height, c.width}).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor weight = at::randn({c.out, c.in, c.rows, c.columns});
  const at::Tensor bias = at::randn({c.out});
  if (!has_direct_conv(DirectType::kBfloat16)) {
    EXPECT_THROW(run_winograd(c, x, weight, bias), c10::Error);
    return;
  }
  const std::vector<int64_t> padding{c.padded ? c.rows / 2 : 0, c.padded ? c.columns / 2 : 0};
  const at::Tensor wanted = at::relu(at::conv2d(x.unsqueeze(0), weight, bias, 1, padding))[0];
  // F(4, 3) weighs rounded products with up to 8: two to three times the error of plain sums.
  EXPECT_CLOSE(run_winograd(c, x, weight, bias), wanted, c.rows == 3 && c.columns == 3 ? 1.6e-2 : 8e-3);
}

TEST(WinogradConv, EqualsConvolutionAtEvenAndOddSizes) {
  at::manual_seed(1);
  for (const WinogradCase& c :
       {WinogradCase{16, 32, 8, 8, 3, 3, true}, WinogradCase{32, 64, 11, 9, 3, 3, true},
        WinogradCase{80, 192, 9, 90, 3, 3, false}, WinogradCase{64, 96, 35, 35, 3, 3, true},
        WinogradCase{48, 64, 35, 36, 5, 5, true}, WinogradCase{16, 80, 7, 9, 5, 5, false},
        WinogradCase{128, 192, 17, 17, 1, 7, true}, WinogradCase{32, 160, 17, 16, 7, 1, true},
        WinogradCase{64, 384, 8, 8, 1, 3, true, true}, WinogradCase{64, 32, 9, 8, 3, 1, true, true}})
    expect_winograd_equals_convolution(c);
}

TEST(WinogradConv, IsRefusedWithoutItsInstructions) {
  const LimitInstructions limit(InstructionSet::kAvx512);
  EXPECT_FALSE(has_direct_conv(DirectType::kBfloat16));
  expect_winograd_equals_convolution({16, 32, 8, 8, 3, 3, true});
}

TEST(WinogradConv, AConstantPictureGivesTheSumOfTheTaps) {
  for (const auto& [rows, columns] : {std::pair{3, 3}, {5, 5}, {1, 7}, {7, 1}, {1, 3}}) {
    const at::Tensor weight = at::randn({3, 2, rows, columns});
    EXPECT_CLOSE(winograd_response(winograd_filter_transform(weight), rows, columns), weight.sum({2, 3}), 1e-5);
  }
  EXPECT_EQ(winograd_filter_transform(at::ones({1, 1, 3, 3})).size(0), 24);
  EXPECT_EQ(winograd_filter_transform(at::ones({1, 1, 5, 5})).size(0), 121);
  EXPECT_EQ(winograd_filter_transform(at::ones({1, 1, 1, 7})).size(0), 16);
  EXPECT_FALSE(has_winograd(1, 1) || has_winograd(7, 7) || has_winograd(3, 5));
}

}  // namespace
}  // namespace tessera
