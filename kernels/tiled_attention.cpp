#include "kernels/tiled_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "core/parallel_for.h"
#include "kernels/attention_inputs.h"
#include "kernels/avx512_bf16.h"
#include "kernels/block_steps.h"
#include "kernels/lane_products.h"
#include "kernels/tile_products.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

constexpr int64_t kMostHeadDim = 512;

}  // namespace

bool can_tile_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  return fits_attention_kernels(q, k, v, heads, kMostHeadDim);
}

#if defined(__x86_64__)

namespace {

constexpr int64_t kQueryBlock = 96;          // queries that share keys and values in the second cache
constexpr int64_t kTileQueryBlock = 256;     // the same in tile registers
constexpr int64_t kKeyBlock = 256;           // keys whose scores are kept at a time
constexpr int64_t kValueChunk = 128;         // keys whose values stay in the first cache, 64 channels of them
constexpr int64_t kPackedBytes = 24L << 20;  // of the keys and values of heads that are worked on together

/// Where the tokens of q, k or v [B, N, heads * D] lie.
struct Rows {
  const uint16_t* data;
  int64_t sample, token, head_dim;

  Rows(const at::Tensor& x, int64_t heads)
      : data(values_of<uint16_t>(x)), sample(x.stride(0)), token(x.stride(1)), head_dim(x.size(2) / heads) {}
  const uint16_t* row(int64_t b, int64_t h, int64_t n) const { return data + b * sample + n * token + h * head_dim; }
};

/// Sixteen keys, of which `count` are there, into their columns of a strip [step][64][kLaneStep].
TESSERA_AVX512_BF16_CODE void pack_keys(const uint16_t* keys, int64_t token, int64_t count, int64_t head_dim,
                                        float* to) {
  const __m512i places = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                            _mm512_set1_epi32(static_cast<int>(token * 2)));
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  for (int64_t c = 0; c < head_dim; c += 2, to += 2 * kLaneStrip) {
    const __m512i two =
        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), avx512::first_lanes(count), places, keys + c, 1);
    _mm512_storeu_si512(to, _mm512_slli_epi32(two, 16));
    _mm512_storeu_si512(to + kLaneStrip, _mm512_and_si512(two, upper));
  }
}

TESSERA_AVX512_BF16_CODE void pack_keys(const uint16_t* keys, int64_t token, int64_t count, int64_t head_dim,
                                        Bfloat16Bits* to) {
  const __m512i places = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                            _mm512_set1_epi32(static_cast<int>(token * 2)));
  for (int64_t c = 0; c < head_dim; c += 2, to += 2 * kLaneStrip)
    _mm512_storeu_si512(
        to, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), avx512::first_lanes(count), places, keys + c, 1));
}

TESSERA_AVX512_BF16_CODE void copy_row(const uint16_t* from, int64_t count, float* to) {
  for (int64_t c = 0; c < count; c += 16)
    _mm512_storeu_ps(to + c, avx512::widen(avx512::first_lanes(count - c), from + c));
}

TESSERA_AVX512_BF16_CODE void copy_row(const uint16_t* from, int64_t count, Bfloat16Bits* to) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(uint16_t));
}

/// Scores of one query, `count` of them, a multiple of 16 -> weights in their place, and the running maximum and sum.
template <typename Value>
TESSERA_AVX512_BF16_CODE void weigh(float* scores, int64_t count, float scale, float& most, float& total, float& kept) {
  __m512 largest = _mm512_set1_ps(most);
  for (int64_t i = 0; i < count; i += 16) largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + i));
  const float now = _mm512_reduce_max_ps(largest);
  const __m512 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(now * scale);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 weight = avx512::exp2(_mm512_fmsub_ps(_mm512_loadu_ps(scores + i), factor, shift));
    sum = _mm512_add_ps(sum, weight);
    avx512::store(weight, reinterpret_cast<Value*>(scores) + i);
  }
  kept = _mm512_cvtss_f32(avx512::exp2(_mm512_set1_ps((most - now) * scale)));
  total = total * kept + _mm512_reduce_add_ps(sum);
  most = now;
}

TESSERA_AVX512_BF16_CODE void store_row(const float* sums, float total, int64_t count, uint16_t* to) {
  const __m512 share = _mm512_set1_ps(1.0f / total);
  for (int64_t c = 0; c < count; c += 16)
    _mm256_mask_storeu_epi16(to + c, avx512::first_lanes(count - c),
                             avx512::narrow(_mm512_mul_ps(_mm512_loadu_ps(sums + c), share)));
}

TESSERA_AVX512_BF16_CODE void scale_row(float* row, int64_t count, float factor) {
  for (int64_t c = 0; c < count; c += 16)
    _mm512_storeu_ps(row + c, _mm512_mul_ps(_mm512_loadu_ps(row + c), _mm512_set1_ps(factor)));
}

/// What a thread keeps of the queries that it works on. at::empty begins cache lines, as vectors of 64 bytes want.
struct Block {
  at::Tensor buffer;
  float *queries, *sums, *scores;    // [count, width] twice, [count, key block]
  float *most, *total, *kept, *all;  // [count]: largest score, sum of exponentials, factor of earlier sums, 1

  Block(int64_t count, int64_t width) : buffer(at::empty({count * (2 * width + kKeyBlock + 4)}, at::kFloat)) {
    queries = buffer.mutable_data_ptr<float>();
    sums = queries + count * width;
    scores = sums + count * width;
    most = scores + count * kKeyBlock;
    total = most + count;
    kept = total + count;
    all = kept + count;
    std::fill_n(all, count, 1.0f);
  }
};

float scale_of(int64_t head_dim) {
  return std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(head_dim));
}

template <typename Value>
struct Attention {
  Rows q, k, v;
  int64_t heads, samples, queries, keys, head_dim;
  int64_t strips = (keys + kLaneStrip - 1) / kLaneStrip;  // of keys, the last one filled up with zeros
  int64_t width = (head_dim + 15) / 16 * 16;              // columns of results and values
  int64_t value_steps = lane_steps<Value>(strips * kLaneStrip);
  at::Tensor packed =
      {};  // [head][strip][step of channels][key], then [head][strip of channels][step of keys][channel]

  static constexpr int64_t kQueries = kQueryBlock;
  static constexpr int64_t kRow = kKeyBlock * static_cast<int64_t>(sizeof(float) / sizeof(Value));
  int64_t head_values() const { return strips * kLaneStrip * (head_dim + width); }
  Value* keys_of(int64_t slot) const { return mutable_values_of<Value>(packed) + slot * head_values(); }
  Value* values_of_slot(int64_t slot) const { return keys_of(slot) + strips * kLaneStrip * head_dim; }

  int64_t head_bytes() const { return head_values() * static_cast<int64_t>(sizeof(Value)); }
  int64_t packs() const { return strips; }
  void pack(int64_t head, int64_t slot, int64_t strip) const;
  void attend(int64_t head, int64_t slot, int64_t first_query, Block& block, uint16_t* out) const;
  void meet(int64_t slot, int64_t first, int64_t rows, Block& block) const;
};

/// A strip of keys and the values of the same tokens.
template <typename Value>
void Attention<Value>::pack(int64_t head, int64_t slot, int64_t strip) const {
  const int64_t b = head / heads, h = head % heads, first = strip * kLaneStrip;
  for (int64_t key = 0; key < kLaneStrip; key += 16)
    pack_keys(k.row(b, h, first + key), k.token, keys - first - key, head_dim,
              keys_of(slot) + first * head_dim + key * kLaneStep<Value>);
  static constexpr uint16_t kZeros[kMostHeadDim] = {};
  const auto value = [&](int64_t n) { return n < keys ? v.row(b, h, n) : kZeros; };
  for (int64_t n = first; n < first + kLaneStrip; n += kLaneStep<Value>)
    pack_lanes(value(n), value(n + 1), head_dim, width, n / kLaneStep<Value>, value_steps, values_of_slot(slot));
}

/// A block of queries meets the block of keys from `first` on.
template <typename Value>
void Attention<Value>::meet(int64_t slot, int64_t first, int64_t rows, Block& block) const {
  const int64_t count = std::min(kKeyBlock, keys - first), padded = (count + 15) / 16 * 16;
  for (int64_t key = 0; key < count; key += kLaneStrip)
    multiply_lanes<Value>({.a = reinterpret_cast<const Value*>(block.queries),
                           .a_row = width,
                           .a_step = kLaneStep<Value>,
                           .b = keys_of(slot) + (first + key) * head_dim,
                           .b_step = kLaneStrip * kLaneStep<Value>,
                           .steps = head_dim / kLaneStep<Value>,
                           .c = block.scores + key,
                           .c_row = kKeyBlock},
                          rows, std::min(kLaneStrip, padded - key));
  const float scale = scale_of(head_dim);
  for (int64_t r = 0; r < rows; ++r) {
    float* scores = block.scores + r * kKeyBlock;
    std::fill(scores + count, scores + padded, -std::numeric_limits<float>::infinity());
    weigh<Value>(scores, padded, scale, block.most[r], block.total[r], block.kept[r]);
  }
  for (int64_t key = 0; key < padded; key += kValueChunk)
    for (int64_t column = 0; column < width; column += kLaneStrip) {
      const int64_t columns = strip_width(column, width);
      multiply_lanes<Value>(
          {.a = reinterpret_cast<const Value*>(block.scores) + key,
           .a_row = kRow,
           .a_step = kLaneStep<Value>,
           .b = values_of_slot(slot) + strip_offset<Value>(column, value_steps) + (first + key) * columns,
           .b_step = columns * kLaneStep<Value>,
           .steps = std::min(kValueChunk, padded - key) / kLaneStep<Value>,
           .c = block.sums + column,
           .c_row = width,
           .kept = key > 0     ? block.all
                   : first > 0 ? block.kept
                               : nullptr},
          rows, columns);
    }
}

template <typename Value>
void Attention<Value>::attend(int64_t head, int64_t slot, int64_t first_query, Block& block, uint16_t* out) const {
  const int64_t b = head / heads, h = head % heads, rows = std::min(kQueryBlock, queries - first_query);
  std::fill_n(block.most, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(block.total, rows, 0.0f);
  for (int64_t r = 0; r < rows; ++r)
    copy_row(q.row(b, h, first_query + r), head_dim, reinterpret_cast<Value*>(block.queries) + r * width);
  for (int64_t first = 0; first < keys; first += kKeyBlock) meet(slot, first, rows, block);
  for (int64_t r = 0; r < rows; ++r)
    store_row(block.sums + r * width, block.total[r], head_dim,
              out + ((b * queries + first_query + r) * heads + h) * head_dim);
}

/// The same in tile registers, 32 queries at a time.
struct TileAttention {
  Rows q, k, v;
  int64_t heads, samples, queries, keys, head_dim;
  int64_t width = (head_dim + kSquare - 1) / kSquare * kSquare;
  int64_t tokens = (keys + kSquare - 1) / kSquare * kSquare;  // zeros beyond the keys
  at::Tensor packed = {};  // [head][16 keys][step of 32 channels][pair of channels][key][2], then the values in the
                           // strips of lane_products.h

  static constexpr int64_t kQueries = kTileQueryBlock;
  static constexpr int64_t kRow = kKeyBlock * 2;  // of weights, which take their scores' place
  int64_t head_bytes() const { return 2 * tokens * width * static_cast<int64_t>(sizeof(Bfloat16Bits)); }
  int64_t packs() const { return tokens / kSquare; }
  Bfloat16Bits* keys_of(int64_t slot) const {
    return mutable_values_of<Bfloat16Bits>(packed) + slot * 2 * tokens * width;
  }
  Bfloat16Bits* values_of_slot(int64_t slot) const { return keys_of(slot) + tokens * width; }

  void pack(int64_t head, int64_t slot, int64_t square) const;
  void attend(int64_t head, int64_t slot, int64_t first_query, Block& block, uint16_t* out) const;
  void meet(int64_t slot, int64_t first, int64_t first_row, int64_t rows, Block& block) const;
};

/// The keys and values of 32 tokens.
void TileAttention::pack(int64_t head, int64_t slot, int64_t square) const {
  static constexpr uint16_t kZeros[kMostHeadDim] = {};
  const int64_t b = head / heads, h = head % heads, first = square * kSquare;
  const auto row = [&](const Rows& rows, int64_t n) { return n < keys ? rows.row(b, h, n) : kZeros; };
  Bfloat16Bits staged[kRegisterRows * kMostHeadDim];
  for (int64_t n = first; n < first + kSquare; n += kRegisterRows) {
    for (int64_t i = 0; i < kRegisterRows; ++i) {
      copy_row(row(k, n + i), head_dim, staged + i * width);
      std::fill(staged + i * width + head_dim, staged + (i + 1) * width, Bfloat16Bits{0});
    }
    for (int64_t c = 0; c < width; c += 2 * kRegisterPairs)
      transpose_pairs(staged + c, width, keys_of(slot) + n * width + c * kRegisterRows);
  }
  for (int64_t n = first; n < first + kSquare; n += 2)
    pack_lanes(row(v, n), row(v, n + 1), head_dim, width, n / 2, tokens / 2, values_of_slot(slot));
}

/// `rows` queries, at most 32, meet the block of keys from `first` on.
void TileAttention::meet(int64_t slot, int64_t first, int64_t first_row, int64_t rows, Block& block) const {
  const int64_t count = std::min(kKeyBlock, keys - first), padded = std::min(kKeyBlock, tokens - first);
  float* scores = block.scores + first_row * kKeyBlock;
  for (int64_t key = 0; key < padded; key += kSquare)
    multiply_square({.a = reinterpret_cast<const Bfloat16Bits*>(block.queries) + first_row * width,
                     .a_row = width,
                     .a_step = 2 * kRegisterPairs,
                     .a_lower = kRegisterRows * width,
                     .b = keys_of(slot) + (first + key) * width,
                     .b_row = 2 * kRegisterRows,
                     .b_step = kRegisterValues,
                     .b_right = kRegisterRows * width,
                     .steps = width / kSquare,
                     .c = scores + key,
                     .c_row = kKeyBlock,
                     .lower = rows > kRegisterRows});
  for (int64_t r = first_row; r < first_row + rows; ++r) {
    float* row = block.scores + r * kKeyBlock;
    std::fill(row + count, row + padded, -std::numeric_limits<float>::infinity());
    weigh<Bfloat16Bits>(row, padded, scale_of(head_dim), block.most[r], block.total[r], block.kept[r]);
    if (first > 0 && block.kept[r] != 1.0f) scale_row(block.sums + r * width, width, block.kept[r]);
  }
  for (int64_t column = 0; column < width; column += kSquare) {
    const int64_t strip = column / kLaneStrip * kLaneStrip, columns = strip_width(strip, width);
    multiply_square({.a = reinterpret_cast<const Bfloat16Bits*>(scores),
                     .a_row = kRow,
                     .a_step = 2 * kRegisterPairs,
                     .a_lower = kRegisterRows * kRow,
                     .b = values_of_slot(slot) + strip_offset<Bfloat16Bits>(strip, tokens / 2) + first * columns +
                          (column - strip) * 2,
                     .b_row = columns * 2,
                     .b_step = kRegisterPairs * columns * 2,
                     .b_right = 2 * kRegisterRows,
                     .steps = padded / kSquare,
                     .c = block.sums + first_row * width + column,
                     .c_row = width,
                     .lower = rows > kRegisterRows,
                     .add = first > 0});
  }
}

void TileAttention::attend(int64_t head, int64_t slot, int64_t first_query, Block& block, uint16_t* out) const {
  const int64_t b = head / heads, h = head % heads, rows = std::min(kQueries, queries - first_query);
  const TileRegisters configured;
  std::fill_n(block.most, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(block.total, rows, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    Bfloat16Bits* to = reinterpret_cast<Bfloat16Bits*>(block.queries) + r * width;
    copy_row(q.row(b, h, first_query + r), head_dim, to);
    std::fill(to + head_dim, to + width, Bfloat16Bits{0});
  }
  for (int64_t first = 0; first < keys; first += kKeyBlock)
    for (int64_t row = 0; row < rows; row += kSquare) meet(slot, first, row, std::min(kSquare, rows - row), block);
  for (int64_t r = 0; r < rows; ++r)
    store_row(block.sums + r * width, block.total[r], head_dim,
              out + ((b * queries + first_query + r) * heads + h) * head_dim);
}

/// Heads are worked on together as kPackedBytes hold them.
template <class Attention>
void run(Attention attention, uint16_t* out) {
  constexpr int64_t kQueries = Attention::kQueries;
  const int64_t all = attention.samples * attention.heads, packs = attention.packs();
  const int64_t blocks = (attention.queries + kQueries - 1) / kQueries;
  const int64_t together = std::clamp<int64_t>(kPackedBytes / attention.head_bytes(), 1, all);
  attention.packed = at::empty({together * attention.head_bytes()}, at::kByte);
  for (int64_t first = 0; first < all; first += together) {
    const int64_t slots = std::min(together, all - first);
    parallel_for(0, slots * packs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attention.pack(first + i / packs, i / packs, i % packs);
    });
    parallel_for(0, slots * blocks, 1, [&](int64_t begin, int64_t end) {
      Block block(kQueries, attention.width);
      for (int64_t i = begin; i < end; ++i)
        attention.attend(first + i / blocks, i / blocks, i % blocks * kQueries, block, out);
    });
  }
}

}  // namespace

at::Tensor tiled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                           AttentionProducts products) {
  TORCH_CHECK(can_tile_attention(q, k, v, heads), "tiled_attention: no kernel for q ", q.sizes(), " of ",
              q.scalar_type(), " in ", heads, " heads on this machine");
  TORCH_CHECK(q.size(2) % heads == 0 && k.sizes() == v.sizes() && k.size(0) == q.size(0) && k.size(2) == q.size(2),
              "tiled_attention: q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes(), " do not fit ", heads, " heads");
  TORCH_CHECK(products != AttentionProducts::kTiles || instruction_set() >= InstructionSet::kAmx,
              "tiled_attention: this machine has no tile registers");
  at::Tensor out = at::empty(q.sizes(), q.options());
  auto* to = mutable_values_of<uint16_t>(out);
  const int64_t B = q.size(0), N = q.size(1), L = k.size(1), D = q.size(2) / heads;
  switch (products) {
    case AttentionProducts::kFloat:
      run(Attention<float>{{q, heads}, {k, heads}, {v, heads}, heads, B, N, L, D}, to);
      break;
    case AttentionProducts::kPairs:
      run(Attention<Bfloat16Bits>{{q, heads}, {k, heads}, {v, heads}, heads, B, N, L, D}, to);
      break;
    case AttentionProducts::kTiles:
      run(TileAttention{{q, heads}, {k, heads}, {v, heads}, heads, B, N, L, D}, to);
      break;
  }
  return out;
}

#else

at::Tensor tiled_attention(const at::Tensor& q, const at::Tensor&, const at::Tensor&, int64_t heads,
                           AttentionProducts) {
  TORCH_CHECK(false, "tiled_attention: no kernel for q ", q.sizes(), " in ", heads, " heads on this machine");
}

#endif

}  // namespace tessera
