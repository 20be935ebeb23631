#include "kernels/winograd_conv.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/direct_conv.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 means its own intrinsics' undefined lanes
#endif

namespace tessera {
namespace {

// What is computed at a time (transformed inputs and sums) has to stay in a core's second-level cache beside weights.
constexpr int64_t kStripBytes = 320 << 10;
constexpr int kMostTaps = 7, kMostOutputs = 4, kMostInputs = kMostTaps + kMostOutputs - 1;
constexpr int kMostProducts = 12, kMostTerms = 16;

/// A weighted sum of inputs that is multiplied by a weighted sum of the kernel's taps.
struct Term {
  int product = 0;  // that it is part of
  float inputs[kMostInputs] = {};
  double taps[kMostTaps] = {};
};

/// How neighboring outputs along one axis come from products: output i is the sum of joins[i][p] times product p,
/// which is the sum of its terms. Terms are in the order of their products.
struct Axis {
  int taps = 0, outputs = 0, products = 0, count = 0;
  Term terms[kMostTerms] = {};
  int begin[kMostProducts + 1] = {};  // the first term of each product, and the end
  float joins[kMostOutputs][kMostProducts] = {};

  constexpr int inputs() const { return taps + outputs - 1; }
  constexpr int terms_of(int product) const { return begin[product + 1] - begin[product]; }
  constexpr void add(const Term& term) {
    terms[count] = term;
    terms[count++].product = products;
  }
  constexpr void end_product() { begin[++products] = count; }
  /// The one output that a product goes to, or -1 when there are several.
  constexpr int only_output(int product) const {
    int found = -1;
    for (int i = 0; i < outputs; ++i)
      if (joins[i][product] != 0) found = found == -1 ? i : outputs;
    return found < outputs ? found : -1;
  }
};

/// An algorithm whose products have one term each.
template <int kProducts, int kInputs, int kTaps, int kOutputs>
constexpr Axis minimal(const float (&inputs)[kProducts][kInputs], const double (&taps)[kProducts][kTaps],
                       const float (&joins)[kOutputs][kProducts]) {
  static_assert(kInputs == kTaps + kOutputs - 1);
  Axis axis{.taps = kTaps, .outputs = kOutputs};
  for (int p = 0; p < kProducts; ++p) {
    Term term;
    std::copy_n(inputs[p], kInputs, term.inputs);
    std::copy_n(taps[p], kTaps, term.taps);
    axis.add(term);
    axis.end_product();
    for (int i = 0; i < kOutputs; ++i) axis.joins[i][p] = joins[i][p];
  }
  return axis;
}

constexpr Axis kOneTap = minimal<1, 1, 1, 1>({{1}}, {{1}}, {{1}});

/// Two outputs of two taps, F(2, 2).
constexpr Axis kTwoTaps =
    minimal<3, 3, 2, 2>({{1, -1, 0}, {0, 1, 0}, {0, 1, -1}}, {{1, 0}, {1, 1}, {0, 1}}, {{1, 1, 0}, {0, 1, -1}});

/// Two outputs of three taps, F(2, 3).
constexpr Axis kThreeTaps =
    minimal<4, 4, 3, 2>({{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
                        {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}}, {{1, 1, 1, 0}, {0, 1, -1, -1}});

/// Four outputs of three taps, F(4, 3), by the polynomials' values at 0, 1, -1, 2, -1/2 and infinity.
constexpr Axis kFourOfThreeTaps = minimal<6, 6, 3, 4>(
    {{2, 3, -4, -3, 2, 0},
     {0, 2, 5, 1, -2, 0},
     {0, 2, 1, -5, 2, 0},
     {0, -1, -2, 1, 2, 0},
     {0, -2, 1, 2, -1, 0},
     {0, 2, 3, -4, -3, 2}},
    {{1.0 / 2, 0, 0},
     {1.0 / 6, 1.0 / 6, 1.0 / 6},
     {1.0 / 6, -1.0 / 6, 1.0 / 6},
     {1.0 / 30, 2.0 / 30, 4.0 / 30},
     {16.0 / 15, -8.0 / 15, 4.0 / 15},
     {0, 0, 1.0 / 2}},
    {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -0.5f, 0}, {0, 1, 1, 4, 0.25f, 0}, {0, 1, -1, 8, -0.125f, 1}});

/// Taps and outputs in groups of inner.taps: `outer` on the groups, `inner` within them.
constexpr Axis nested(const Axis& outer, const Axis& inner) {
  const int group = inner.taps;
  Axis axis{.taps = outer.taps * group, .outputs = outer.outputs * group};
  for (int p = 0; p < outer.products; ++p)
    for (int q = 0; q < inner.products; ++q) {
      Term term;
      for (int i = 0; i < outer.inputs(); ++i)
        for (int j = 0; j < inner.inputs(); ++j)
          if (outer.terms[p].inputs[i] * inner.terms[q].inputs[j] != 0)
            term.inputs[i * group + j] += outer.terms[p].inputs[i] * inner.terms[q].inputs[j];
      for (int i = 0; i < axis.taps; ++i)
        term.taps[i] = outer.terms[p].taps[i / group] * inner.terms[q].taps[i % group];
      for (int i = 0; i < axis.outputs; ++i)
        axis.joins[i][axis.products] = outer.joins[i / group][p] * inner.joins[i % group][q];
      axis.add(term);
      axis.end_product();
    }
  return axis;
}

/// Without the last tap, and without what only served it.
constexpr Axis without_last_tap(const Axis& from) {
  Axis axis{.taps = from.taps - 1, .outputs = from.outputs};
  for (int p = 0; p < from.products; ++p) {
    Term term = from.terms[p];
    if (std::all_of(term.taps, term.taps + axis.taps, [](double tap) { return tap == 0; })) continue;
    term.taps[axis.taps] = 0;
    axis.add(term);
    for (int i = 0; i < axis.outputs; ++i) axis.joins[i][axis.products] = from.joins[i][p];
    axis.end_product();
  }
  return axis;
}

/// With one tap more, as it is: a term in each product that goes to one output alone.
constexpr Axis with_one_tap_more(const Axis& from) {
  Axis axis = from;
  axis.products = axis.count = 0;
  for (int p = 0; p < from.products; ++p) {
    axis.add(from.terms[p]);
    if (const int output = from.only_output(p); output >= 0) {
      Term term;
      term.inputs[output + from.taps] = from.joins[output][p];
      term.taps[from.taps] = 1;
      axis.add(term);
    }
    axis.end_product();
  }
  ++axis.taps;
  return axis;
}

constexpr Axis kSixTaps = nested(kThreeTaps, kTwoTaps);  // four outputs, 12 products
constexpr Axis kFiveTaps = without_last_tap(kSixTaps), kSevenTaps = with_one_tap_more(kSixTaps);

constexpr const Axis& axis_of(int64_t taps) {
  return taps == 1 ? kOneTap : taps == 3 ? kThreeTaps : taps == 5 ? kFiveTaps : kSevenTaps;
}

/// Down the rows of a 3x3 kernel four outputs; across its columns two, because errors multiply.
constexpr const Axis& row_axis(int64_t rows, int64_t columns) {
  return rows == 3 && columns == 3 ? kFourOfThreeTaps : axis_of(rows);
}

/// Both axes together. Products and terms are ordered by row product, column product, row term, column term.
struct Plan {
  const Axis &rows, &columns;

  Plan(int64_t row_taps, int64_t column_taps) : rows(row_axis(row_taps, column_taps)), columns(axis_of(column_taps)) {}

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

WinogradTile winograd_tile(int64_t rows, int64_t columns) {
  return {row_axis(rows, columns).outputs, axis_of(columns).outputs};
}

at::Tensor winograd_weights(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 4 && has_winograd(weight.size(2), weight.size(3)), "winograd_weights: ", weight.sizes());
  const Plan plan(weight.size(2), weight.size(3));
  const int64_t pairs = weight.size(0) * weight.size(1), width = plan.columns.taps;
  const at::Tensor taps = weight.to(at::kCPU, at::kFloat).reshape({pairs, -1}).t().contiguous();  // [tap, pair]
  at::Tensor to = at::empty({plan.terms(), weight.size(0), weight.size(1)}, at::kFloat);
  const auto add = [](double factor, const float* from, int64_t count, float* sums) {
    if (factor != 0)
      for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<float>(factor) * from[i];
  };
  constexpr int64_t kPairs = 256;  // at a time
  at::parallel_for(0, (pairs + kPairs - 1) / kPairs, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> half(static_cast<size_t>(plan.rows.count * width * kPairs));  // [row term, column tap, pair]
    for (int64_t first = begin * kPairs; first < std::min(end * kPairs, pairs); first += kPairs) {
      const int64_t count = std::min(kPairs, pairs - first);
      std::fill(half.begin(), half.end(), 0.0f);
      for (int row = 0; row < plan.rows.count; ++row)
        for (int64_t tap = 0; tap < taps.size(0); ++tap)
          add(plan.rows.terms[row].taps[tap / width], taps.const_data_ptr<float>() + tap * pairs + first, count,
              half.data() + (row * width + tap % width) * kPairs);
      float* sums = to.data_ptr<float>() + first;
      plan.each_term([&](int, int, int row, int column) {
        std::fill_n(sums, count, 0.0f);
        for (int64_t x = 0; x < width; ++x)
          add(plan.columns.terms[column].taps[x], half.data() + (row * width + x) * kPairs, count, sums);
        sums += pairs;
      });
    }
  });
  return to.to(weight.device());
}

at::Tensor winograd_response(const at::Tensor& weights, int64_t rows, int64_t columns) {
  const Plan plan(rows, columns);
  const auto of_ones = [](const Axis& axis, int product, int term) {
    double inputs = 0, outputs = 0;
    for (const float factor : axis.terms[term].inputs) inputs += factor;
    for (const auto& joins : axis.joins) outputs += joins[product];
    return inputs * outputs / axis.outputs;
  };
  std::vector<float> shares;  // [terms]
  plan.each_term([&](int p, int q, int row, int column) {
    shares.push_back(static_cast<float>(of_ones(plan.rows, p, row) * of_ones(plan.columns, q, column)));
  });
  return at::matmul(at::tensor(shares, weights.options()), weights.flatten(1)).view(weights.sizes().slice(1));
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

/// The sum of factors[i] * x[i], for factors that the compiler knows.
TESSERA_BFLOAT16_CODE inline __m512 weighted_sum(const float* factors, int count, const __m512* x) {
  __m512 sum = _mm512_setzero_ps();
  bool first = true;
  TESSERA_UNROLL for (int i = 0; i < count; ++i) {
    if (factors[i] == 0) continue;
    if (factors[i] == 1)
      sum = first ? x[i] : _mm512_add_ps(sum, x[i]);
    else if (factors[i] == -1)
      sum = _mm512_sub_ps(sum, x[i]);
    else
      sum = _mm512_fmadd_ps(_mm512_set1_ps(factors[i]), x[i], sum);
    first = false;
  }
  return sum;
}

/// The terms of one square: [product][squares][terms of the product][in], of which `to` is this square's place.
template <int kRows, int kColumns>
TESSERA_BFLOAT16_CODE void transform_square(const WinogradConv& conv, const uint16_t* from, uint16_t* to,
                                            int64_t square, int64_t squares) {
  constexpr const Axis &kDown = row_axis(kRows, kColumns), &kAcross = axis_of(kColumns);
  constexpr int kHeight = kDown.inputs(), kWidth = kAcross.inputs();
  for (int64_t channel = 0; channel < conv.in; channel += 16) {
    __m512 half[kDown.count][kWidth];
    TESSERA_UNROLL for (int column = 0; column < kWidth; ++column) {
      __m512 pixels[kHeight];
      TESSERA_UNROLL for (int row = 0; row < kHeight; ++row) pixels[row] =
          widen(from + row * conv.from_pitch + column * conv.in + channel);
      TESSERA_UNROLL for (int row = 0; row < kDown.count; ++row) half[row][column] =
          weighted_sum(kDown.terms[row].inputs, kHeight, pixels);
    }
    TESSERA_UNROLL for (int row = 0; row < kDown.count; ++row)
        TESSERA_UNROLL for (int column = 0; column < kAcross.count; ++column) {
      const int p = kDown.terms[row].product, q = kAcross.terms[column].product;
      const int before = kDown.begin[p] * kAcross.count + kDown.terms_of(p) * kAcross.begin[q];
      const int terms = kDown.terms_of(p) * kAcross.terms_of(q);
      const int own = (row - kDown.begin[p]) * kAcross.terms_of(q) + column - kAcross.begin[q];
      narrow(to + (squares * before + square * terms + own) * conv.in + channel,
             weighted_sum(kAcross.terms[column].inputs, kWidth, half[row]));
    }
  }
}

/// The sums of one square, `stride` values apart, to its outputs inside the picture: `rows` x `columns` of them.
template <int kRows, int kColumns>
TESSERA_BFLOAT16_CODE void finish_square(const WinogradConv& conv, const float* sums, int64_t stride, int64_t channels,
                                         const float* bias, void* to, int64_t at, int64_t rows, int64_t columns) {
  constexpr const Axis &kDown = row_axis(kRows, kColumns), &kAcross = axis_of(kColumns);
  for (int64_t channel = 0; channel < channels; channel += 16) {
    __m512 half[kDown.outputs][kAcross.products];
    TESSERA_UNROLL for (int column = 0; column < kAcross.products; ++column) {
      __m512 products[kDown.products];
      TESSERA_UNROLL for (int row = 0; row < kDown.products; ++row) products[row] =
          _mm512_loadu_ps(sums + (row * kAcross.products + column) * stride + channel);
      TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) half[row][column] =
          weighted_sum(kDown.joins[row], kDown.products, products);
    }
    const __m512 shift = _mm512_loadu_ps(bias + channel);
    TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) {
      TESSERA_UNROLL for (int column = 0; column < kAcross.outputs; ++column) {
        if (row >= rows || column >= columns) continue;
        const __m512 value =
            _mm512_max_ps(_mm512_add_ps(weighted_sum(kAcross.joins[column], kAcross.products, half[row]), shift),
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

void multiply(const Plan& plan, DirectConv& product, const WinogradConv& conv, int64_t squares,
              const uint16_t*& weights, const uint16_t* inputs, float* sums) {
  const auto fill = [&](std::vector<int32_t>& offsets, int64_t step) {
    offsets.resize(static_cast<size_t>(squares));
    for (int64_t i = 0; i < squares; ++i) offsets[static_cast<size_t>(i)] = static_cast<int32_t>(i * step);
  };
  fill(product.to, product.channels);
  product.run = 0;
  for (int p = 0; p < plan.products(); ++p) {
    const int64_t run = plan.terms_of(p) * conv.in;
    if (product.run != run) fill(product.from, run);
    product.run = run;
    product.weights = weights;
    direct_conv(DirectType::kBfloat16, product, inputs, sums);
    weights += run * product.channels;
    inputs += squares * run;
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
