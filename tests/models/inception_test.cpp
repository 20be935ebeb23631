#include "models/inception/inception.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/direct_conv.h"
#include "kernels/winograd_conv.h"
#include "tests/support/fixture.h"
#include "tests/support/inception_weights.h"
#include "tests/support/meta_kernels.h"

namespace tessera {
namespace {

TEST(InceptionGraph, SizesAreThePublishedOnes) {
  const InceptionGraph& graph = inception_graph();
  EXPECT_EQ(graph.convs.size(), 94u);
  const int64_t sides[] = {73, 35, 17, 8};
  ASSERT_EQ(graph.taps.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(graph.buffers[graph.taps[i].buffer].channels, graph.taps[i].dims);
    EXPECT_EQ(graph.buffers[graph.taps[i].buffer].height, sides[i]);
  }
  Inception inception;
  ParamList list;
  inception.params(list);
  EXPECT_EQ(list.size(), 94u * 5 + 2);
  EXPECT_EQ(list.count(), 23885392);  // torchvision's Inception v3 with 1008 classes, no auxiliary head
  EXPECT_THROW(graph.tap(100), Error);
}

TEST(Inception, RunsOnTheMetaDevice) {
  test::use_meta_kernels();
  Inception inception;
  ParamList list;
  inception.params(list);
  make_meta(list, at::kFloat);
  inception.prepare(at::kFloat, InceptionKernels::kComposed);
  const at::Tensor x = at::empty({2, 3, 299, 299}, at::device(at::kMeta).dtype(at::kFloat));
  const at::Tensor pooled = inception.features(x, 1, 0);
  EXPECT_TRUE(pooled.is_meta());
  EXPECT_EQ(pooled.sizes(), (std::vector<int64_t>{2, 2048}));
  EXPECT_EQ(inception.logits(pooled).size(1), 1008);
}

TEST(Inception, ARowDependsOnItsPictureAlone) {
  Inception inception;
  test::fill_by_formula(inception, 1);
  inception.prepare(at::kFloat);
  const at::Tensor x = at::rand({3, 3, 299, 299});
  const at::Tensor together = inception.features(x, 2, -1, 192);
  EXPECT_EQ(inception.features(x.narrow(0, 0, 0), 2, -1, 192).sizes(), (std::vector<int64_t>{0, 192}));
  if (inception.is_direct())
    EXPECT_TRUE(at::equal(together.narrow(0, 1, 1), inception.features(x.narrow(0, 1, 1), 2, -1, 192)));
  else
    EXPECT_CLOSE(together.narrow(0, 1, 1), inception.features(x.narrow(0, 1, 1), 2, -1, 192), 1e-5);
}

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

TEST(DirectConv, EqualsConvolutionAtEveryWidthOfItsTiles) {
  for (const DirectType type : {DirectType::kFloat, DirectType::kBfloat16}) {
    if (!has_direct_conv(type)) {
      EXPECT_THROW(
          {
            Inception inception;
            test::fill_by_formula(inception, 1);
            inception.prepare(type == DirectType::kFloat ? at::kFloat : at::kBFloat16, InceptionKernels::kDirect);
          },
          Error);
      continue;
    }
    for (const ConvCase c : {ConvCase{4, 32, 3, 3, 2}, ConvCase{16, 48, 1, 1, 1}, ConvCase{48, 64, 5, 5, 1},
                             ConvCase{32, 80, 3, 3, 1}, ConvCase{16, 96, 1, 7, 1}, ConvCase{32, 160, 7, 1, 1}}) {
      SCOPED_TRACE(c10::str(c.in, " to ", c.out, ", ", c.rows, "x", c.columns));
      const at::Tensor x = at::rand({c.in, 11, 9}).sub_(0.3).to(at::kBFloat16).to(at::kFloat);
      const at::Tensor weight = at::randn({c.out, c.in, c.rows, c.columns}).to(at::kBFloat16).to(at::kFloat);
      const at::Tensor bias = at::randn({c.out});
      const at::Tensor wanted =
          at::relu(at::conv2d(x.unsqueeze(0), weight, bias, c.stride, {c.rows / 2, c.columns / 2}))[0];
      EXPECT_CLOSE(run_direct(type, x, weight, bias, c), wanted, type == DirectType::kFloat ? 1e-5 : 4e-3);
    }
  }
}

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
  const at::Tensor packed = pack_winograd(winograd_weights(weight), c.rows, c.columns);
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

TEST(WinogradConv, EqualsConvolutionAtEvenAndOddSizes) {
  at::manual_seed(1);
  if (!has_direct_conv(DirectType::kBfloat16)) return;  // nothing chooses these kernels then
  for (const WinogradCase& c :
       {WinogradCase{16, 32, 8, 8, 3, 3, true}, WinogradCase{32, 64, 11, 9, 3, 3, true},
        WinogradCase{80, 192, 9, 90, 3, 3, false}, WinogradCase{64, 96, 35, 35, 3, 3, true},
        WinogradCase{48, 64, 35, 36, 5, 5, true}, WinogradCase{16, 80, 7, 9, 5, 5, false},
        WinogradCase{128, 192, 17, 17, 1, 7, true}, WinogradCase{32, 160, 17, 16, 7, 1, true},
        WinogradCase{64, 384, 8, 8, 1, 3, true, true}, WinogradCase{64, 32, 9, 8, 3, 1, true, true}}) {
    SCOPED_TRACE(c10::str(c.in, " to ", c.out, ", ", c.height, "x", c.width, ", ", c.rows, "x", c.columns));
    const at::Tensor x = at::rand({c.in, c.height, c.width}).to(at::kBFloat16).to(at::kFloat);
    const at::Tensor weight = at::randn({c.out, c.in, c.rows, c.columns});
    const at::Tensor bias = at::randn({c.out});
    const std::vector<int64_t> padding{c.padded ? c.rows / 2 : 0, c.padded ? c.columns / 2 : 0};
    const at::Tensor wanted = at::relu(at::conv2d(x.unsqueeze(0), weight, bias, 1, padding))[0];
    // Four outputs of three taps weigh rounded products with up to 8: two to three times the error of plain sums.
    EXPECT_CLOSE(run_winograd(c, x, weight, bias), wanted, c.rows == 3 && c.columns == 3 ? 1.6e-2 : 8e-3);
  }
}

TEST(WinogradConv, AConstantPictureGivesTheSumOfTheTaps) {
  for (const auto& [rows, columns] : {std::pair{3, 3}, {5, 5}, {1, 7}, {7, 1}, {1, 3}}) {
    const at::Tensor weight = at::randn({3, 2, rows, columns});
    EXPECT_CLOSE(winograd_response(winograd_weights(weight), rows, columns), weight.sum({2, 3}), 1e-5);
  }
  EXPECT_EQ(winograd_weights(at::ones({1, 1, 3, 3})).size(0), 24);
  EXPECT_EQ(winograd_weights(at::ones({1, 1, 5, 5})).size(0), 121);
  EXPECT_EQ(winograd_weights(at::ones({1, 1, 1, 7})).size(0), 16);
  EXPECT_FALSE(has_winograd(1, 1) || has_winograd(7, 7) || has_winograd(3, 5));
}

}  // namespace
}  // namespace tessera
