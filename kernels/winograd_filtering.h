#pragma once

#include <algorithm>

#include "kernels/frame_conv.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Winograd's minimal filtering along one axis, as tables. Source: Lavin & Gray, arXiv 1509.09308; Winograd, Arithmetic
// Complexity of Computations (1980). Include in kernel .cpp files only.
namespace tessera {

constexpr int kMostTaps = 7, kMostOutputs = 4, kMostInputs = kMostTaps + kMostOutputs - 1;
constexpr int kMostProducts = 12, kMostTerms = 16;

/// A transformed input times a transformed filter: (row of B^T d) * (row of G g).
struct Term {
  int product = 0;                // that it is part of
  float input[kMostInputs] = {};  // the row of B^T
  double filter[kMostTaps] = {};  // the row of G
};

/// F(outputs, taps) along one axis: outputs = A^T m, where product m_p is the sum of its terms (one, in the usual
/// algorithms). Terms are in the order of their products.
struct Filtering {
  int taps = 0, outputs = 0, products = 0, count = 0;
  Term terms[kMostTerms] = {};
  int begin[kMostProducts + 1] = {};               // the first term of each product, and the end
  float output[kMostOutputs][kMostProducts] = {};  // A^T

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
      if (output[i][product] != 0) found = found == -1 ? i : outputs;
    return found < outputs ? found : -1;
  }
};

/// The algorithm with the matrices B^T, G and A^T, a term for each product.
template <int kProducts, int kInputs, int kTaps, int kOutputs>
constexpr Filtering minimal_filtering(const float (&bt)[kProducts][kInputs], const double (&g)[kProducts][kTaps],
                                      const float (&at)[kOutputs][kProducts]) {
  static_assert(kInputs == kTaps + kOutputs - 1);
  Filtering f{.taps = kTaps, .outputs = kOutputs};
  for (int p = 0; p < kProducts; ++p) {
    Term term;
    std::copy_n(bt[p], kInputs, term.input);
    std::copy_n(g[p], kTaps, term.filter);
    f.add(term);
    f.end_product();
    for (int i = 0; i < kOutputs; ++i) f.output[i][p] = at[i][p];
  }
  return f;
}

constexpr Filtering kF11 = minimal_filtering<1, 1, 1, 1>({{1}}, {{1}}, {{1}});

constexpr Filtering kF22 = minimal_filtering<3, 3, 2, 2>({{1, -1, 0}, {0, 1, 0}, {0, 1, -1}}, {{1, 0}, {1, 1}, {0, 1}},
                                                         {{1, 1, 0}, {0, 1, -1}});

constexpr Filtering kF23 = minimal_filtering<4, 4, 3, 2>({{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
                                                         {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
                                                         {{1, 1, 1, 0}, {0, 1, -1, -1}});

/// Interpolation points 0, 1, -1, 2, -1/2 and infinity.
constexpr Filtering kF43 = minimal_filtering<6, 6, 3, 4>(
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

/// Interpolation points 0, 1 / sqrt(2), -1 / sqrt(2), sqrt(2), -sqrt(2) and infinity. Of the sets tried, these give the
/// smallest error where factors are rounded: with independent inputs the variance of a rounding grows 5.0-fold on its
/// way to an output, by 0, 1, -1, 2, -1/2 6.9-fold, by 0, 1, -1, 2, -2 10.8-fold (F(2, 3): 1.7-fold).
constexpr float kRoot = 1.41421356f, kHalfRoot = 0.70710678f;
constexpr double kThirdRoot = 1.4142135623730951 / 3;
constexpr Filtering kF43Roots =
    minimal_filtering<6, 6, 3, 4>({{1, 0, -2.5f, 0, 1, 0},
                                   {0, -kRoot, -2, kHalfRoot, 1, 0},
                                   {0, kRoot, -2, -kHalfRoot, 1, 0},
                                   {0, -kHalfRoot, -0.5f, kRoot, 1, 0},
                                   {0, kHalfRoot, -0.5f, -kRoot, 1, 0},
                                   {0, 1, 0, -2.5f, 0, 1}},
                                  {{1, 0, 0},
                                   {-2.0 / 3, -kThirdRoot, -1.0 / 3},
                                   {-2.0 / 3, kThirdRoot, -1.0 / 3},
                                   {1.0 / 6, 0.5 * kThirdRoot, 1.0 / 3},
                                   {1.0 / 6, -0.5 * kThirdRoot, 1.0 / 3},
                                   {0, 0, 1}},
                                  {{1, 1, 1, 1, 1, 0},
                                   {0, kHalfRoot, -kHalfRoot, kRoot, -kRoot, 0},
                                   {0, 0.5f, 0.5f, 2, 2, 0},
                                   {0, 0.5f * kHalfRoot, -0.5f * kHalfRoot, 2 * kRoot, -2 * kRoot, 1}});

/// Taps and outputs in groups of inner.taps: `outer` on the groups, `inner` within them.
constexpr Filtering nested(const Filtering& outer, const Filtering& inner) {
  const int group = inner.taps;
  Filtering f{.taps = outer.taps * group, .outputs = outer.outputs * group};
  for (int p = 0; p < outer.products; ++p)
    for (int q = 0; q < inner.products; ++q) {
      Term term;
      for (int i = 0; i < outer.inputs(); ++i)
        for (int j = 0; j < inner.inputs(); ++j)
          if (outer.terms[p].input[i] * inner.terms[q].input[j] != 0)
            term.input[i * group + j] += outer.terms[p].input[i] * inner.terms[q].input[j];
      for (int i = 0; i < f.taps; ++i)
        term.filter[i] = outer.terms[p].filter[i / group] * inner.terms[q].filter[i % group];
      for (int i = 0; i < f.outputs; ++i)
        f.output[i][f.products] = outer.output[i / group][p] * inner.output[i % group][q];
      f.add(term);
      f.end_product();
    }
  return f;
}

/// F(m, r - 1) from F(m, r): the last tap is zero, and products that it alone uses go.
constexpr Filtering without_last_tap(const Filtering& from) {
  Filtering f{.taps = from.taps - 1, .outputs = from.outputs};
  for (int p = 0; p < from.products; ++p) {
    Term term = from.terms[p];
    if (std::all_of(term.filter, term.filter + f.taps, [](double tap) { return tap == 0; })) continue;
    term.filter[f.taps] = 0;
    f.add(term);
    for (int i = 0; i < f.outputs; ++i) f.output[i][f.products] = from.output[i][p];
    f.end_product();
  }
  return f;
}

/// F(m, r + 1) from F(m, r): what the added tap gives to an output, one plain product, becomes the second term of the
/// product that this output alone uses.
constexpr Filtering with_one_tap_more(const Filtering& from) {
  Filtering f = from;
  f.products = f.count = 0;
  for (int p = 0; p < from.products; ++p) {
    f.add(from.terms[p]);
    if (const int output = from.only_output(p); output >= 0) {
      Term term;
      term.input[output + from.taps] = from.output[output][p];
      term.filter[from.taps] = 1;
      f.add(term);
    }
    f.end_product();
  }
  ++f.taps;
  return f;
}

constexpr Filtering kF46 = nested(kF23, kF22);  // 12 products
constexpr Filtering kF45 = without_last_tap(kF46), kF47 = with_one_tap_more(kF46);

/// The forms of frame_conv, from small to large tiles: what it uses down and across a kernel.
constexpr const Filtering& frame_rows(FrameForm form) {
  return form == FrameForm::kPoint ? kF11 : form == FrameForm::kFine ? kF23 : kF43Roots;
}
constexpr const Filtering& frame_columns(FrameForm form) {
  return form == FrameForm::kPoint ? kF11 : kF23;
}

#if defined(__x86_64__)
/// The sum of factors[i] * x[i], for factors that the compiler knows.
TESSERA_AVX512_BF16_CODE inline __m512 weighted_sum(const float* factors, int count, const __m512* x) {
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

#endif

}  // namespace tessera
