#include "models/winograd_conv.h"

#include <algorithm>

#include "models/direct_conv.h"
#include "models/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 means its own intrinsics' undefined lanes
#endif

namespace tessera {
namespace {

// What is computed at a time (transformed inputs and sums) has to stay in a core's second-level cache beside weights.
constexpr int64_t kStripBytes = 320 << 10;
constexpr int kMostTerms = 10, kMostTaps = 7;

/// An input of a product: first * sign_first + second * sign_second.
struct Term {
  int first = 0, second = 0, sign_first = 1, sign_second = 0, product = 0;
  double weights[kMostTaps] = {};  // what the weight is of the kernel's taps
};

/// How outputs along one axis come from products. Kernels of one tap have one output and one product. Others have two
/// outputs, a + b + c and b - c - d of four products, each a sum over terms of the kernel's segments of 3, 2 or 1 taps.
struct Axis {
  int taps = 1, outputs = 1, products = 1, count = 0;
  Term terms[kMostTerms];
  int begin[5] = {};  // the first term of each product, and the end

  constexpr int inputs() const { return taps + outputs - 1; }
  constexpr int terms_of(int product) const { return begin[product + 1] - begin[product]; }
  /// The mean over the outputs of what they take of this product.
  constexpr double share(int product) const {
    constexpr double kShares[] = {0.5, 1, 0, -0.5};
    return outputs == 1 ? 1 : kShares[product];
  }
};

constexpr void add_term(Axis& axis, int product, int at, int length) {
  Term term;
  double* g = term.weights + at;
  if (length == 3 && product == 0) term = {at, at + 2, 1, -1}, g[0] = 1;
  if (length == 3 && product == 1) term = {at + 1, at + 2, 1, 1}, g[0] = g[1] = g[2] = 0.5;
  if (length == 3 && product == 2) term = {at + 2, at + 1, 1, -1}, g[0] = g[2] = 0.5, g[1] = -0.5;
  if (length == 3 && product == 3) term = {at + 1, at + 3, 1, -1}, g[2] = 1;
  if (length == 2 && product == 0) term = {at, at + 1, 1, -1}, g[0] = 1;
  if (length == 2 && product == 1) term = {at + 1, at + 1, 1, 0}, g[0] = g[1] = 1;
  if (length == 2 && product == 2) return;
  if (length == 2 && product == 3) term = {at + 1, at + 2, 1, -1}, g[1] = 1;
  if (length == 1 && product == 0) term = {at, at, 1, 0}, g[0] = 1;
  if (length == 1 && (product == 1 || product == 2)) return;
  if (length == 1 && product == 3) term = {at + 1, at + 1, -1, 0}, g[0] = 1;
  term.product = product;
  axis.terms[axis.count++] = term;
}

constexpr Axis make_axis(int taps) {
  Axis axis;
  axis.taps = taps;
  axis.outputs = taps == 1 ? 1 : 2;
  axis.products = taps == 1 ? 1 : 4;
  for (int product = 0; product < axis.products; ++product) {
    axis.begin[product] = axis.count;
    for (int at = 0; at < taps; at += 3) add_term(axis, product, at, std::min(taps - at, 3));
  }
  axis.begin[axis.products] = axis.count;
  return axis;
}

template <int kTaps>
constexpr Axis kAxis = make_axis(kTaps);

/// Both axes together. Products and terms are ordered by row product, column product, row term, column term.
struct Plan {
  Axis rows, columns;

  Plan(int64_t row_taps, int64_t column_taps)
      : rows(make_axis(static_cast<int>(row_taps))), columns(make_axis(static_cast<int>(column_taps))) {}

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

/// The squares of outputs that are computed at a time.
struct Strip {
  int64_t rows, columns, all_rows;

  Strip(const WinogradConv& conv, const Plan& plan)
      : columns((conv.width + plan.columns.outputs - 1) / plan.columns.outputs),
        all_rows((conv.height + plan.rows.outputs - 1) / plan.rows.outputs) {
    const int64_t row_bytes = columns * (plan.terms() * conv.in * 2 + plan.products() * direct_block(conv.out) * 4);
    rows = std::clamp<int64_t>(kStripBytes / row_bytes, 1, all_rows);
  }
  int64_t squares() const { return rows * columns; }
};

int64_t input_bytes(const WinogradConv& conv, const Plan& plan) {
  return Strip(conv, plan).squares() * plan.terms() * conv.in * 2;
}

}  // namespace

bool has_winograd(int64_t rows, int64_t columns) {
  if (rows == columns) return rows == 3 || rows == 5;
  return std::min(rows, columns) == 1 && (std::max(rows, columns) == 3 || std::max(rows, columns) == 7);
}

at::Tensor winograd_weights(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 4 && has_winograd(weight.size(2), weight.size(3)), "winograd_weights: ", weight.sizes());
  const Plan plan(weight.size(2), weight.size(3));
  std::vector<at::Tensor> all;
  plan.each_term([&](int, int, int row, int column) {
    at::Tensor sum = at::zeros_like(weight.select(3, 0).select(2, 0), at::kDouble);
    for (int y = 0; y < plan.rows.taps; ++y)
      for (int x = 0; x < plan.columns.taps; ++x)
        if (const double g = plan.rows.terms[row].weights[y] * plan.columns.terms[column].weights[x]; g != 0)
          sum.add_(weight.select(3, x).select(2, y), g);
    all.push_back(sum);
  });
  return at::stack(all).to(at::kFloat);
}

at::Tensor winograd_response(const at::Tensor& weights, int64_t rows, int64_t columns) {
  const Plan plan(rows, columns);
  const auto of_ones = [](const Axis& axis, int product, int term) {
    return axis.share(product) * (axis.terms[term].sign_first + axis.terms[term].sign_second);
  };
  at::Tensor sum = at::zeros_like(weights[0]);
  int64_t at = 0;
  plan.each_term([&](int p, int q, int row, int column) {
    sum.add_(weights[at++], of_ones(plan.rows, p, row) * of_ones(plan.columns, q, column));
  });
  return sum;
}

at::Tensor pack_winograd(const at::Tensor& weights, int64_t rows, int64_t columns) {
  const Plan plan(rows, columns);
  const int64_t out = weights.size(1), in = weights.size(2);
  std::vector<at::Tensor> products;  // [out, terms, in]
  int64_t first_term = 0;
  for (int p = 0; p < plan.products(); first_term += plan.terms_of(p++))
    products.push_back(weights.narrow(0, first_term, plan.terms_of(p)).transpose(0, 1).contiguous());
  at::Tensor packed = at::empty({weights.numel() * 2}, at::kByte);
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
  const Plan plan(conv.rows, conv.columns);
  int64_t widest = 0;
  for (int64_t first = 0; first < conv.out; first += direct_block(conv.out - first))
    widest = std::max(widest, direct_block(conv.out - first));
  return input_bytes(conv, plan) + Strip(conv, plan).squares() * plan.products() * widest * 4;
}

#if defined(__x86_64__)

namespace {

TESSERA_BFLOAT16_CODE inline __m512 widen(const uint16_t* from) {
  return reinterpret_cast<__m512>(simd::load(reinterpret_cast<const Bfloat16Bits*>(from), simd::kLanes));
}

TESSERA_BFLOAT16_CODE inline void narrow(uint16_t* to, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
}

TESSERA_BFLOAT16_CODE inline __m512 combine(const Term& term, const __m512* x) {
  if (term.sign_second > 0) return _mm512_add_ps(x[term.first], x[term.second]);
  if (term.sign_second < 0) return _mm512_sub_ps(x[term.first], x[term.second]);
  return term.sign_first > 0 ? x[term.first] : _mm512_sub_ps(_mm512_setzero_ps(), x[term.first]);
}

/// The terms of one square: [product][squares][terms of the product][in], of which `to` is this square's place.
template <int kRows, int kColumns>
TESSERA_BFLOAT16_CODE void transform_square(const WinogradConv& conv, const uint16_t* from, uint16_t* to,
                                            int64_t square, int64_t squares) {
  constexpr const Axis &kDown = kAxis<kRows>, &kAcross = kAxis<kColumns>;
  constexpr int kHeight = kDown.inputs(), kWidth = kAcross.inputs();
  for (int64_t channel = 0; channel < conv.in; channel += 16) {
    __m512 half[kDown.count][kWidth];
    TESSERA_UNROLL for (int column = 0; column < kWidth; ++column) {
      __m512 pixels[kHeight];
      TESSERA_UNROLL for (int row = 0; row < kHeight; ++row) pixels[row] =
          widen(from + row * conv.from_pitch + column * conv.in + channel);
      TESSERA_UNROLL for (int row = 0; row < kDown.count; ++row) half[row][column] = combine(kDown.terms[row], pixels);
    }
    TESSERA_UNROLL for (int row = 0; row < kDown.count; ++row)
        TESSERA_UNROLL for (int column = 0; column < kAcross.count; ++column) {
      const int p = kDown.terms[row].product, q = kAcross.terms[column].product;
      const int before = kDown.begin[p] * kAcross.count + kDown.terms_of(p) * kAcross.begin[q];
      const int terms = kDown.terms_of(p) * kAcross.terms_of(q);
      const int own = (row - kDown.begin[p]) * kAcross.terms_of(q) + column - kAcross.begin[q];
      narrow(to + (squares * before + square * terms + own) * conv.in + channel,
             combine(kAcross.terms[column], half[row]));
    }
  }
}

/// a + b + c and b - c - d, or a alone.
template <int kTaps>
TESSERA_BFLOAT16_CODE inline void join(const __m512* x, __m512* y) {
  y[0] = x[0];
  if constexpr (kTaps > 1) {
    y[0] = _mm512_add_ps(_mm512_add_ps(x[0], x[1]), x[2]);
    y[1] = _mm512_sub_ps(_mm512_sub_ps(x[1], x[2]), x[3]);
  }
}

/// The sums of one square, `stride` values apart, to its outputs inside the picture: `rows` x `columns` of them.
template <int kRows, int kColumns>
TESSERA_BFLOAT16_CODE void finish_square(const WinogradConv& conv, const float* sums, int64_t stride, int64_t channels,
                                         const float* bias, void* to, int64_t at, int64_t rows, int64_t columns) {
  constexpr const Axis &kDown = kAxis<kRows>, &kAcross = kAxis<kColumns>;
  for (int64_t channel = 0; channel < channels; channel += 16) {
    __m512 half[kDown.outputs][kAcross.products];
    TESSERA_UNROLL for (int column = 0; column < kAcross.products; ++column) {
      __m512 products[kDown.products], joined[kDown.outputs];
      TESSERA_UNROLL for (int row = 0; row < kDown.products; ++row) products[row] =
          _mm512_loadu_ps(sums + (row * kAcross.products + column) * stride + channel);
      join<kRows>(products, joined);
      TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) half[row][column] = joined[row];
    }
    const __m512 shift = _mm512_loadu_ps(bias + channel);
    TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) {
      __m512 whole[kAcross.outputs];
      join<kColumns>(half[row], whole);
      TESSERA_UNROLL for (int column = 0; column < kAcross.outputs; ++column) {
        if (row >= rows || column >= columns) continue;
        const __m512 value = _mm512_max_ps(_mm512_add_ps(whole[column], shift), _mm512_setzero_ps());
        const int64_t place = at + row * conv.to_pitch + column * conv.to_pixel + channel;
        if (conv.to_float)
          _mm512_storeu_ps(static_cast<float*>(to) + place, value);
        else
          narrow(static_cast<uint16_t*>(to) + place, value);
      }
    }
  }
}

void multiply(const Plan& plan, DirectConv& product, const WinogradConv& conv, int64_t squares,
              const uint16_t*& weights, const uint16_t* inputs, float* sums) {
  product.to.clear();
  for (int64_t i = 0; i < squares; ++i) product.to.push_back(static_cast<int32_t>(i * product.channels));
  for (int p = 0; p < plan.products(); ++p) {
    product.run = plan.terms_of(p) * conv.in;
    product.weights = weights;
    product.from.clear();
    for (int64_t i = 0; i < squares; ++i) product.from.push_back(static_cast<int32_t>(i * product.run));
    direct_conv(DirectType::kBfloat16, product, inputs, sums);
    weights += product.run * product.channels;
    inputs += squares * product.run;
    sums += squares * product.channels;
  }
}

template <int kRows, int kColumns>
void run(const WinogradConv& conv, const void* from, void* to, void* scratch) {
  const Plan plan(kRows, kColumns);
  const Strip strip(conv, plan);
  auto* inputs = static_cast<uint16_t*>(scratch);
  auto* sums = reinterpret_cast<float*>(static_cast<uint8_t*>(scratch) + input_bytes(conv, plan));
  DirectConv product;
  product.store = DirectStore::kRawFloat;
  for (int64_t top = 0; top < strip.all_rows; top += strip.rows) {
    const int64_t squares = std::min(strip.rows, strip.all_rows - top) * strip.columns;
    const auto row = [&](int64_t square) { return plan.rows.outputs * (top + square / strip.columns); };
    const auto column = [&](int64_t square) { return plan.columns.outputs * (square % strip.columns); };
    for (int64_t i = 0; i < squares; ++i)
      transform_square<kRows, kColumns>(
          conv, static_cast<const uint16_t*>(from) + conv.from + row(i) * conv.from_pitch + column(i) * conv.in, inputs,
          i, squares);
    const auto* weights = static_cast<const uint16_t*>(conv.weights);
    for (int64_t first = 0; first < conv.out; first += product.channels) {
      product.channels = direct_block(conv.out - first);
      multiply(plan, product, conv, squares, weights, inputs, sums);
      for (int64_t i = 0; i < squares; ++i)
        finish_square<kRows, kColumns>(conv, sums + i * product.channels, squares * product.channels, product.channels,
                                       conv.bias + first, to,
                                       conv.to + row(i) * conv.to_pitch + column(i) * conv.to_pixel + first,
                                       conv.height - row(i), conv.width - column(i));
    }
  }
}

}  // namespace

void winograd_conv(const WinogradConv& conv, const void* from, void* to, void* scratch) {
  TORCH_INTERNAL_ASSERT(has_winograd(conv.rows, conv.columns));
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

void winograd_conv(const WinogradConv&, const void*, void*, void*) {}

#endif

}  // namespace tessera
