#include "kernels/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/int8_product_simd.h"
#include "kernels/value_type.h"
#include "kernels/wide_product_simd.h"

namespace tessera {
namespace {

constexpr int64_t kMostInputs = 1 << 16;  // more could exceed 32 bits
constexpr int64_t kTileRows = 12;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

at::Tensor output_like(const at::Tensor& x, int64_t outputs) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = outputs;
  return at::empty(shape, x.options());
}

at::Tensor wide_bias(const at::Tensor& bias) {
  return bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
}

/// Into how many ranges of rows to cut, so that `parts` groups of columns keep all threads busy to the end.
int64_t row_ranges(int64_t parts, int64_t rows) {
  constexpr int64_t kMost = 8, kEnough = 16;
  const int64_t threads = at::get_num_threads(), tiles = ceil_div(rows, kTileRows);
  int64_t ranges = 1;
  while (ranges < std::min(kMost, tiles) && parts * ranges % threads != 0 && parts * ranges < kEnough * threads)
    ++ranges;
  return ranges;
}

Int8Weight int8_weight(const PackedWeight& weight) {
  return {weight.rows(), weight.columns(), static_cast<const uint8_t*>(weight.bytes.const_data_ptr()),
          values_of<float>(weight.scales)};
}

/// Fills panels from plain or packed numbers, some panels at a time.
void quantize_into(const at::Tensor& weight, const Int8Weight& to, uint8_t* codes, float* scales) {
  const PackedWeight* packed = packed_weight(weight);
  const at::Tensor plain = packed || can_vectorize(weight) ? weight : weight.to(at::kFloat);
  constexpr int64_t kNumbersAtOnce = 1 << 22;
  const int64_t most = packed ? std::max<int64_t>(1, kNumbersAtOnce / (to.inputs * kInt8Panel)) : to.panels();
  for (int64_t first = 0; first < to.panels(); first += most) {
    const int64_t row = first * kInt8Panel, count = std::min(most * kInt8Panel, to.outputs - row);
    at::Tensor part;
    if (packed) {
      part = at::empty({count, to.inputs}, at::kFloat);
      unpack_rows(*packed, row, count, part);
    } else {
      part = plain.narrow(0, row, count).contiguous();
    }
    with_value_type(part.scalar_type(), [&](auto tag) {
      const auto* from = values_of<decltype(tag)>(part);
      parallel_for(0, ceil_div(count, kInt8Panel), 1, [&](int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; ++panel) {
          const int64_t at = panel * kInt8Panel;
          quantize_panel(from + at * to.inputs, to.inputs, std::min(kInt8Panel, count - at),
                         codes + (first + panel) * to.panel_bytes(), scales + row + at);
        }
      });
    });
  }
}

/// Whether a weight's own codes and scales are what int8_linear wants.
bool is_int8_by_row(const PackedWeight* weight) {
  return weight && weight->type == PackedType::kInt8 && weight->rotation == 0 && weight->added.empty() &&
         weight->scales.defined() && weight->scale_rows == 1 && weight->scale_columns >= weight->columns();
}

/// Rows in blocks of whole tiles, as equal as can be, so that threads finish together. What is needed of a block at a
/// time stays in a cache while panels pass by: whole rows in tiles of 12, a few steps of them in squares.
struct RowBlocks {
  int64_t rows, tile, count;

  RowBlocks(int64_t all, int64_t rows_of_tile, int64_t inputs) : rows(all), tile(rows_of_tile) {
    constexpr int64_t kBytes = 512 * 1024, kMostTiles = 20, kMostSquares = 15;
    const int64_t most = tile == kSquare ? kMostSquares : std::clamp<int64_t>(kBytes / inputs / tile, 1, kMostTiles);
    count = ceil_div(tiles(), most);
  }

  int64_t tiles() const { return ceil_div(rows, tile); }
  int64_t first_row(int64_t block) const { return std::min(rows, tiles() * block / count * tile); }
};

}  // namespace

bool prefers_wide_linear() {
  return has_wide_product() && bfloat16_is_slow();
}

at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Activation activation) {
  const int64_t inputs = x.size(-1), outputs = weight.size(0), rows = x.numel() / inputs;
  const at::Tensor out = output_like(x, outputs), offset = wide_bias(bias);
  const WideProduct product{values_of<Bfloat16Bits>(x),
                            values_of<Bfloat16Bits>(weight),
                            values_of<float>(offset),
                            activation,
                            inputs,
                            outputs,
                            mutable_values_of<Bfloat16Bits>(out)};
  const int64_t parts = ceil_div(outputs, kWideColumns), ranges = row_ranges(parts, rows);
  const int64_t range = ceil_div(ceil_div(rows, kTileRows), ranges) * kTileRows;
  parallel_for(0, parts * ranges, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor scratch = at::empty({wide_scratch(range, inputs)}, at::kFloat);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task / parts * range;
      if (first < rows)
        wide_product(product, first, std::min(rows, first + range), task % parts * kWideColumns,
                     mutable_values_of<float>(scratch));
    }
  });
  return out;
}

bool fits_int8(at::IntArrayRef shape) {
  return shape.size() == 2 && shape[0] > 0 && shape[1] > 0 && shape[1] <= kMostInputs;
}

at::Tensor int8_tensor(const at::Tensor& weight, at::ScalarType dtype) {
  TORCH_CHECK(fits_int8(weight.sizes()), "int8_tensor: want a matrix of at most ", kMostInputs, " columns, got ",
              weight.sizes());
  Int8Weight to{weight.size(0), weight.size(1), nullptr, nullptr};
  const at::Tensor codes = at::full({to.panels() * to.panel_bytes()}, 128, at::kByte);
  at::Tensor scales = at::empty({to.outputs, 1}, at::kFloat);
  auto* bytes = mutable_values_of<uint8_t>(codes);
  const PackedWeight* packed = packed_weight(weight);
  if (is_int8_by_row(packed)) {
    scales = packed->scales;
    const auto* from = static_cast<const int8_t*>(packed->bytes.const_data_ptr());
    parallel_for(0, to.panels(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t row = panel * kInt8Panel;
        arrange_panel(from + row * to.inputs, to.inputs, std::min(kInt8Panel, to.outputs - row),
                      bytes + panel * to.panel_bytes());
      }
    });
  } else {
    quantize_into(weight, to, bytes, mutable_values_of<float>(scales));
  }
  return packed_tensor({.type = PackedType::kInt8Panels,
                        .shape = weight.sizes().vec(),
                        .bytes = codes,
                        .scales = scales,
                        .scale_rows = 1,
                        .scale_columns = to.inputs},
                       dtype);
}

at::Tensor int8_linear(const at::Tensor& x, const PackedWeight& weight, const at::Tensor& bias, Activation activation) {
  TORCH_CHECK(
      weight.type == PackedType::kInt8Panels && can_vectorize(x) && x.is_contiguous() && x.size(-1) == weight.columns(),
      "int8_linear: bad x ", x.scalar_type(), " ", x.sizes(), " for a weight ", at::IntArrayRef(weight.shape));
  const Int8Weight w = int8_weight(weight);
  const Int8Layout layout;
  const RowBlocks blocks(x.numel() / w.inputs, layout.rows(), w.inputs);
  const at::Tensor out = output_like(x, w.outputs), offset = wide_bias(bias);
  const at::Tensor codes = at::empty({blocks.tiles() * layout.tile_bytes(w.inputs)}, at::kChar);
  const at::Tensor scales = at::empty({blocks.rows}, at::kFloat), sums = at::empty({blocks.rows}, at::kInt);
  const Int8Rows quantized{layout, mutable_values_of<int8_t>(codes), mutable_values_of<float>(scales),
                           mutable_values_of<int32_t>(sums)};
  constexpr int64_t kPanelsOfTask = 8;
  const int64_t parts = ceil_div(w.panels(), kPanelsOfTask);
  with_value_type(x.scalar_type(), [&](auto tag) {
    using Value = decltype(tag);
    const int64_t tile = blocks.tile, grain = std::max<int64_t>(1, kValuesPerTask / (tile * w.inputs));
    parallel_for(0, blocks.tiles(), grain, [&](int64_t begin, int64_t end) {
      quantize_rows(values_of<Value>(x), w.inputs, begin * tile, std::min(blocks.rows, end * tile), quantized);
    });
    parallel_for(0, blocks.count * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task / parts, panel = task % parts * kPanelsOfTask;
        int8_product(quantized, w, values_of<float>(offset), activation, blocks.first_row(block),
                     blocks.first_row(block + 1), panel, std::min(w.panels(), panel + kPanelsOfTask),
                     mutable_values_of<Value>(out));
      }
    });
  });
  return out;
}

}  // namespace tessera
