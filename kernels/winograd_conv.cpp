#include "kernels/winograd_conv.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/direct_conv.h"
#include "kernels/simd.h"
#include "kernels/winograd_filtering.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 means its own intrinsics' undefined lanes
#endif
#endif

namespace tessera {
namespace {

// The tiles of a strip, transformed inputs and products, have to stay in a core's second-level cache beside the
// filters.
constexpr int64_t kStripBytes = 320 << 10;

/// Across the columns of a kernel.
constexpr const Filtering& column_filtering(int64_t taps) {
  return taps == 1 ? kF11 : taps == 3 ? kF23 : taps == 5 ? kF45 : kF47;
}

/// Down its rows: the same, but F(4, 3) for 3x3. Not on both axes, because the errors of the two multiply.
constexpr const Filtering& row_filtering(int64_t rows, int64_t columns) {
  return rows == 3 && columns == 3 ? kF43 : column_filtering(rows);
}

/// Both axes together. Products and terms are ordered by row product, column product, row term, column term.
struct Filtering2d {
  const Filtering &rows, &columns;

  Filtering2d(int64_t row_taps, int64_t column_taps)
      : rows(row_filtering(row_taps, column_taps)), columns(column_filtering(column_taps)) {}

  int products() const { return rows.products * columns.products; }
  int terms() const { return rows.count * columns.count; }
  int terms_of(int product) const {
    return rows.terms_of(product / columns.products) * columns.terms_of(product % columns.products);
  }
  /// Calls visit(row product, column product, row term, column term) in order.
  template <class Visit>
  void each_term(const Visit& visit) const {
    for (int p = 0; p < rows.products; ++p)
      for (int q = 0; q < columns.products; ++q)
        for (int row = rows.begin[p]; row < rows.begin[p + 1]; ++row)
          for (int column = columns.begin[q]; column < columns.begin[q + 1]; ++column) visit(p, q, row, column);
  }
};

/// Rows of tiles that are computed at a time.
struct Strip {
  int64_t rows, columns, all_rows;

  Strip(const WinogradConv& conv, const Filtering2d& filtering)
      : columns((conv.width + filtering.columns.outputs - 1) / filtering.columns.outputs),
        all_rows((conv.height + filtering.rows.outputs - 1) / filtering.rows.outputs) {
    const int64_t row_bytes =
        columns * (filtering.terms() * conv.in * 2 + filtering.products() * direct_block(conv.out) * 4);
    rows = std::clamp<int64_t>(kStripBytes / row_bytes, 1, all_rows);
  }
  int64_t tiles() const { return rows * columns; }
};

int64_t input_bytes(const WinogradConv& conv, const Filtering2d& filtering) {
  return Strip(conv, filtering).tiles() * filtering.terms() * conv.in * 2;
}

}  // namespace

bool has_winograd(int64_t rows, int64_t columns) {
  if (rows == columns) return rows == 3 || rows == 5;
  return std::min(rows, columns) == 1 && (std::max(rows, columns) == 3 || std::max(rows, columns) == 7);
}

WinogradTile winograd_tile(int64_t rows, int64_t columns) {
  return {row_filtering(rows, columns).outputs, column_filtering(columns).outputs};
}

at::Tensor winograd_filter_transform(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 4 && has_winograd(weight.size(2), weight.size(3)),
              "winograd_filter_transform: ", weight.sizes());
  const Filtering2d filtering(weight.size(2), weight.size(3));
  const int64_t pairs = weight.size(0) * weight.size(1), width = filtering.columns.taps;
  const at::Tensor taps = weight.to(at::kCPU, at::kFloat).reshape({pairs, -1}).t().contiguous();  // [tap, pair]
  at::Tensor to = at::empty({filtering.terms(), weight.size(0), weight.size(1)}, at::kFloat);
  const auto add = [](double factor, const float* from, int64_t count, float* sums) {
    if (factor != 0)
      for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<float>(factor) * from[i];
  };
  constexpr int64_t kPairs = 256;  // at a time
  parallel_for(0, (pairs + kPairs - 1) / kPairs, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> g_rows(
        static_cast<size_t>(filtering.rows.count * width * kPairs));  // G g: [row term, column tap, pair]
    for (int64_t first = begin * kPairs; first < std::min(end * kPairs, pairs); first += kPairs) {
      const int64_t count = std::min(kPairs, pairs - first);
      std::fill(g_rows.begin(), g_rows.end(), 0.0f);
      for (int row = 0; row < filtering.rows.count; ++row)
        for (int64_t tap = 0; tap < taps.size(0); ++tap)
          add(filtering.rows.terms[row].filter[tap / width], taps.const_data_ptr<float>() + tap * pairs + first, count,
              g_rows.data() + (row * width + tap % width) * kPairs);
      float* sums = to.data_ptr<float>() + first;
      filtering.each_term([&](int, int, int row, int column) {
        std::fill_n(sums, count, 0.0f);
        for (int64_t x = 0; x < width; ++x)
          add(filtering.columns.terms[column].filter[x], g_rows.data() + (row * width + x) * kPairs, count, sums);
        sums += pairs;
      });
    }
  });
  return to.to(weight.device());
}

at::Tensor winograd_response(const at::Tensor& transformed, int64_t rows, int64_t columns) {
  const Filtering2d filtering(rows, columns);
  const auto of_ones = [](const Filtering& f, int product, int term) {
    double inputs = 0, outputs = 0;
    for (const float factor : f.terms[term].input) inputs += factor;
    for (const auto& row : f.output) outputs += row[product];
    return inputs * outputs / f.outputs;
  };
  std::vector<float> shares;  // [terms]
  filtering.each_term([&](int p, int q, int row, int column) {
    shares.push_back(static_cast<float>(of_ones(filtering.rows, p, row) * of_ones(filtering.columns, q, column)));
  });
  return at::matmul(at::tensor(shares, transformed.options()), transformed.flatten(1))
      .view(transformed.sizes().slice(1));
}

at::Tensor pack_winograd(const at::Tensor& transformed, int64_t rows, int64_t columns) {
  const Filtering2d filtering(rows, columns);
  const int64_t out = transformed.size(1), in = transformed.size(2);
  std::vector<at::Tensor> products;  // [out, terms, in]
  int64_t first_term = 0;
  for (int p = 0; p < filtering.products(); first_term += filtering.terms_of(p++))
    products.push_back(transformed.narrow(0, first_term, filtering.terms_of(p)).transpose(0, 1).contiguous());
  at::Tensor packed = at::empty({transformed.numel() * 2}, at::kByte);
  auto* to = static_cast<uint8_t*>(packed.data_ptr());
  for (int64_t first = 0; first < out; first += direct_block(out - first)) {
    const int64_t width = direct_block(out - first);
    for (const at::Tensor& product : products) {
      const int64_t run = product.size(1) * in;
      pack_direct_weights(DirectType::kBfloat16, product.const_data_ptr<float>() + first * run, 1, run, width, to);
      to += width * run * 2;
    }
  }
  return packed;
}

int64_t winograd_scratch_bytes(const WinogradConv& conv) {
  const Filtering2d filtering(conv.rows, conv.columns);
  int64_t widest = 0;
  for (int64_t first = 0; first < conv.out; first += direct_block(conv.out - first))
    widest = std::max(widest, direct_block(conv.out - first));
  return input_bytes(conv, filtering) + Strip(conv, filtering).tiles() * filtering.products() * widest * 4;
}

#if defined(__x86_64__)

namespace {

TESSERA_AVX512_BF16_CODE inline __m512 widen(const uint16_t* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

TESSERA_AVX512_BF16_CODE inline void narrow(uint16_t* to, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
}

/// B^T d B of one tile's inputs, into [product][tile][term of the product][in]. `to` is the first tile's place.
template <int kRows, int kColumns>
TESSERA_AVX512_BF16_CODE void input_transform(const WinogradConv& conv, const uint16_t* from, uint16_t* to,
                                              int64_t tile, int64_t tiles) {
  constexpr const Filtering &kDown = row_filtering(kRows, kColumns), &kAcross = column_filtering(kColumns);
  constexpr int kHeight = kDown.inputs(), kWidth = kAcross.inputs();
  for (int64_t channel = 0; channel < conv.in; channel += 16) {
    __m512 bt_d[kDown.count][kWidth];
    TESSERA_UNROLL for (int column = 0; column < kWidth; ++column) {
      __m512 pixels[kHeight];
      TESSERA_UNROLL for (int row = 0; row < kHeight; ++row) pixels[row] =
          widen(from + row * conv.from_pitch + column * conv.in + channel);
      TESSERA_UNROLL for (int row = 0; row < kDown.count; ++row) bt_d[row][column] =
          weighted_sum(kDown.terms[row].input, kHeight, pixels);
    }
    TESSERA_UNROLL for (int row = 0; row < kDown.count; ++row)
        TESSERA_UNROLL for (int column = 0; column < kAcross.count; ++column) {
      const int p = kDown.terms[row].product, q = kAcross.terms[column].product;
      const int before = kDown.begin[p] * kAcross.count + kDown.terms_of(p) * kAcross.begin[q];
      const int terms = kDown.terms_of(p) * kAcross.terms_of(q);
      const int own = (row - kDown.begin[p]) * kAcross.terms_of(q) + column - kAcross.begin[q];
      narrow(to + (tiles * before + tile * terms + own) * conv.in + channel,
             weighted_sum(kAcross.terms[column].input, kWidth, bt_d[row]));
    }
  }
}

/// relu(A^T m A + bias) of one tile's products m, which lie `stride` values apart; `rows` x `columns` of its outputs
/// are inside the picture.
template <int kRows, int kColumns>
TESSERA_AVX512_BF16_CODE void output_transform(const WinogradConv& conv, const float* sums, int64_t stride,
                                               int64_t channels, const float* bias, void* to, int64_t at, int64_t rows,
                                               int64_t columns) {
  constexpr const Filtering &kDown = row_filtering(kRows, kColumns), &kAcross = column_filtering(kColumns);
  for (int64_t channel = 0; channel < channels; channel += 16) {
    __m512 at_m[kDown.outputs][kAcross.products];
    TESSERA_UNROLL for (int column = 0; column < kAcross.products; ++column) {
      __m512 products[kDown.products];
      TESSERA_UNROLL for (int row = 0; row < kDown.products; ++row) products[row] =
          _mm512_loadu_ps(sums + (row * kAcross.products + column) * stride + channel);
      TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) at_m[row][column] =
          weighted_sum(kDown.output[row], kDown.products, products);
    }
    const __m512 shift = _mm512_loadu_ps(bias + channel);
    TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) {
      TESSERA_UNROLL for (int column = 0; column < kAcross.outputs; ++column) {
        if (row >= rows || column >= columns) continue;
        const __m512 value =
            _mm512_max_ps(_mm512_add_ps(weighted_sum(kAcross.output[column], kAcross.products, at_m[row]), shift),
                          _mm512_setzero_ps());
        const int64_t place = at + row * conv.to_pitch + column * conv.to_pixel + channel;
        if (conv.to_float)
          _mm512_storeu_ps(static_cast<float*>(to) + place, value);
        else
          narrow(static_cast<uint16_t*>(to) + place, value);
      }
    }
  }
}

/// The products of a strip's tiles, a matrix multiplication each, for one block of output channels.
void multiply(const Filtering2d& filtering, DirectConv& product, const WinogradConv& conv, int64_t tiles,
              const uint16_t*& weights, const uint16_t* inputs, float* sums) {
  const auto fill = [&](std::vector<int32_t>& offsets, int64_t step) {
    offsets.resize(static_cast<size_t>(tiles));
    for (int64_t i = 0; i < tiles; ++i) offsets[static_cast<size_t>(i)] = static_cast<int32_t>(i * step);
  };
  fill(product.to, product.channels);
  product.run = 0;
  for (int p = 0; p < filtering.products(); ++p) {
    const int64_t run = filtering.terms_of(p) * conv.in;
    if (product.run != run) fill(product.from, run);
    product.run = run;
    product.weights = weights;
    direct_conv(DirectType::kBfloat16, product, inputs, sums);
    weights += run * product.channels;
    inputs += tiles * run;
    sums += tiles * product.channels;
  }
}

template <int kRows, int kColumns>
void run(const WinogradConv& conv, const void* from, void* to, void* scratch) {
  const Filtering2d filtering(kRows, kColumns);
  const Strip strip(conv, filtering);
  auto* inputs = static_cast<uint16_t*>(scratch);
  auto* sums = reinterpret_cast<float*>(static_cast<uint8_t*>(scratch) + input_bytes(conv, filtering));
  DirectConv product;
  product.store = DirectStore::kRawFloat;
  for (int64_t top = 0; top < strip.all_rows; top += strip.rows) {
    const int64_t tiles = std::min(strip.rows, strip.all_rows - top) * strip.columns;
    const auto row = [&](int64_t tile) { return filtering.rows.outputs * (top + tile / strip.columns); };
    const auto column = [&](int64_t tile) { return filtering.columns.outputs * (tile % strip.columns); };
    for (int64_t i = 0; i < tiles; ++i)
      input_transform<kRows, kColumns>(
          conv, static_cast<const uint16_t*>(from) + conv.from + row(i) * conv.from_pitch + column(i) * conv.in, inputs,
          i, tiles);
    const auto* weights = static_cast<const uint16_t*>(conv.weights);
    for (int64_t first = 0; first < conv.out; first += product.channels) {
      product.channels = direct_block(conv.out - first);
      multiply(filtering, product, conv, tiles, weights, inputs, sums);
      for (int64_t i = 0; i < tiles; ++i)
        output_transform<kRows, kColumns>(conv, sums + i * product.channels, tiles * product.channels, product.channels,
                                          conv.bias + first, to,
                                          conv.to + row(i) * conv.to_pitch + column(i) * conv.to_pixel + first,
                                          conv.height - row(i), conv.width - column(i));
    }
  }
}

}  // namespace

void winograd_conv(const WinogradConv& conv, const void* from, void* to, void* scratch) {
  TORCH_CHECK(has_winograd(conv.rows, conv.columns) && has_direct_conv(DirectType::kBfloat16),
              "winograd_conv: no kernel for ", conv.rows, "x", conv.columns, " on this machine");
  const bool square = conv.rows == conv.columns, across = conv.rows == 1;
  switch (std::max(conv.rows, conv.columns)) {
    case 3:
      return (square ? run<3, 3> : across ? run<1, 3> : run<3, 1>)(conv, from, to, scratch);
    case 5:
      return run<5, 5>(conv, from, to, scratch);
    default:
      return (across ? run<1, 7> : run<7, 1>)(conv, from, to, scratch);
  }
}

#else

void winograd_conv(const WinogradConv&, const void*, void*, void*) {
  TORCH_CHECK(false, "winograd_conv: needs AVX512-BF16");
}

#endif

}  // namespace tessera
