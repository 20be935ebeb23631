#include "kernels/pack.h"

#include <ATen/ATen.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/parallel_for.h"
#include "core/text.h"

// Compiled without contraction of products and sums, as kernels/unpack_blocks.cpp.
namespace tessera {
namespace {

constexpr int kNumbers = 32;  // of a legacy block, and of a group of Q4_K
constexpr int kGroups = 8;    // of Q4_K

/// Stores a number as float16 and returns what is read from there.
float store_half(uint8_t* at, float number) {
  const uint16_t bits = c10::detail::fp16_ieee_from_fp32_value(number);
  std::memcpy(at, &bits, sizeof(bits));
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

float inverse(float number) {
  return number == 0 ? 0 : 1 / number;
}

uint8_t clipped(float number, int most) {
  return static_cast<uint8_t>(std::clamp(static_cast<int>(std::trunc(number)), 0, most));
}

/// The number of largest size, the first of several.
float extreme(const float* x) {
  return *std::max_element(x, x + kNumbers, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

void store_nibbles(const uint8_t* q, uint8_t* out) {
  for (int i = 0; i < kNumbers / 2; ++i) out[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + kNumbers / 2] & 15) << 4);
}

void store_fifth_bits(const uint8_t* q, uint8_t* out) {
  uint32_t bits = 0;
  for (int i = 0; i < kNumbers; ++i) bits |= static_cast<uint32_t>(q[i] >> 4) << i;
  std::memcpy(out, &bits, sizeof(bits));
}

/// Q4_0 and Q5_0: a scale, which maps the largest number to the lowest code.
void pack_signed(const float* x, uint8_t* out, int half) {
  const float scale = extreme(x) / static_cast<float>(-half), turn = inverse(scale);
  uint8_t q[kNumbers];
  for (int i = 0; i < kNumbers; ++i) q[i] = clipped(x[i] * turn + (static_cast<float>(half) + 0.5f), 2 * half - 1);
  store_half(out, scale);
  if (half == 16) store_fifth_bits(q, out + 2);
  store_nibbles(q, out + (half == 16 ? 6 : 2));
}

/// Q4_1 and Q5_1: a scale and the least number.
void pack_from_least(const float* x, uint8_t* out, int most) {
  const auto [least, largest] = std::minmax_element(x, x + kNumbers);
  const float scale = (*largest - *least) / static_cast<float>(most), turn = inverse(scale);
  uint8_t q[kNumbers];
  for (int i = 0; i < kNumbers; ++i) q[i] = clipped((x[i] - *least) * turn + 0.5f, most);
  store_half(out, scale);
  store_half(out + 2, *least);
  if (most == 31) store_fifth_bits(q, out + 4);
  store_nibbles(q, out + (most == 31 ? 8 : 4));
}

void pack_q8_0(const float* x, uint8_t* out) {
  const float scale = std::abs(extreme(x)) / 127, turn = inverse(scale);
  store_half(out, scale);
  for (int i = 0; i < kNumbers; ++i) {
    const float number = x[i] * turn, size = std::abs(number), whole = std::floor(size);
    const float rounded = whole + std::floor(2 * (size - whole));  // half away from zero
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(number < 0 ? -rounded : rounded));
  }
}

/// number ~ scale * code - minimum, codes 0 to 15, both not negative.
struct Line {
  float scale = 0, minimum = 0;
};

uint8_t code_of(float x, float turn, float minimum) {
  return static_cast<uint8_t>(std::clamp(static_cast<int>(std::lrint((x + minimum) * turn)), 0, 15));
}

/// The line through (code, number) with the least weighted squared error for given codes.
Line fit(const float* x, const float* weight, const uint8_t* codes) {
  double w = 0, c = 0, cc = 0, n = 0, nc = 0;
  for (int i = 0; i < kNumbers; ++i) {
    const double part = weight[i], code = codes[i];
    w += part;
    c += part * code;
    cc += part * code * code;
    n += part * x[i];
    nc += part * code * x[i];
  }
  const double determinant = w * cc - c * c;
  if (determinant <= 0) return {};
  double scale = (w * nc - n * c) / determinant, offset = (cc * n - c * nc) / determinant;
  if (offset > 0) {
    offset = 0;
    scale = nc / cc;
  }
  return {static_cast<float>(std::max(scale, 0.0)), static_cast<float>(-offset)};
}

double error_of(const float* x, const float* weight, const Line& line) {
  const float turn = inverse(line.scale);
  double error = 0;
  for (int i = 0; i < kNumbers; ++i) {
    const float missed = line.scale * static_cast<float>(code_of(x[i], turn, line.minimum)) - line.minimum - x[i];
    error += static_cast<double>(weight[i] * missed * missed);
  }
  return error;
}

/// The best line for 32 numbers: from codes of several first guesses, each fitted.
Line best_line(const float* x) {
  constexpr int kGuesses = 16;
  const auto [low, high] = std::minmax_element(x, x + kNumbers);
  const float least = std::min(*low, 0.0f), range = *high - least;
  if (!(range > 0)) return {0, -least};
  float weight[kNumbers], squares = 0;
  for (int i = 0; i < kNumbers; ++i) squares += x[i] * x[i];
  const float usual = std::sqrt(squares / kNumbers);
  for (int i = 0; i < kNumbers; ++i) weight[i] = usual + std::abs(x[i]);
  Line best{range / 15, -least};
  double least_error = error_of(x, weight, best);
  for (int guess = 0; guess < kGuesses; ++guess) {
    const float turn = (14.0f + 0.15f * static_cast<float>(guess)) / range;
    uint8_t codes[kNumbers];
    for (int i = 0; i < kNumbers; ++i) codes[i] = code_of(x[i], turn, -least);
    const Line line = fit(x, weight, codes);
    const double error = line.scale > 0 ? error_of(x, weight, line) : least_error;
    if (error < least_error) {
      best = line;
      least_error = error;
    }
  }
  return best;
}

/// Eight scales and eight minima of 6 bits in 12 bytes: the low six bits of the first four of each, whose upper two
/// bits hold those of the last four.
void store_six_bits(const uint8_t* scales, const uint8_t* minima, uint8_t* out) {
  for (int group = 0; group < 4; ++group) {
    out[group] = static_cast<uint8_t>(scales[group] | scales[group + 4] >> 4 << 6);
    out[group + 4] = static_cast<uint8_t>(minima[group] | minima[group + 4] >> 4 << 6);
    out[group + 8] = static_cast<uint8_t>((scales[group + 4] & 15) | (minima[group + 4] & 15) << 4);
  }
}

void pack_q4_k(const float* x, uint8_t* out) {
  Line lines[kGroups];
  float most_scale = 0, most_minimum = 0;
  for (int group = 0; group < kGroups; ++group) {
    lines[group] = best_line(x + group * kNumbers);
    most_scale = std::max(most_scale, lines[group].scale);
    most_minimum = std::max(most_minimum, lines[group].minimum);
  }
  const float scale_unit = store_half(out, most_scale / 63), minimum_unit = store_half(out + 2, most_minimum / 63);
  uint8_t scales[kGroups], minima[kGroups], codes[kGroups][kNumbers];
  const auto six_bits = [](float number) { return static_cast<uint8_t>(std::clamp<long>(std::lrint(number), 0, 63)); };
  for (int group = 0; group < kGroups; ++group) {
    scales[group] = six_bits(lines[group].scale * inverse(scale_unit));
    minima[group] = six_bits(lines[group].minimum * inverse(minimum_unit));
    const float turn = inverse(scale_unit * static_cast<float>(scales[group]));
    const float minimum = minimum_unit * static_cast<float>(minima[group]);
    for (int i = 0; i < kNumbers; ++i) codes[group][i] = code_of(x[group * kNumbers + i], turn, minimum);
  }
  store_six_bits(scales, minima, out + 4);
  for (int pair = 0; pair < kGroups / 2; ++pair)
    for (int i = 0; i < kNumbers; ++i)
      out[16 + pair * kNumbers + i] = static_cast<uint8_t>(codes[2 * pair][i] | codes[2 * pair + 1][i] << 4);
}

void pack_block(PackedType type, const float* x, uint8_t* out) {
  switch (type) {
    case PackedType::kQ4_0:
      return pack_signed(x, out, 8);
    case PackedType::kQ4_1:
      return pack_from_least(x, out, 15);
    case PackedType::kQ5_0:
      return pack_signed(x, out, 16);
    case PackedType::kQ5_1:
      return pack_from_least(x, out, 31);
    case PackedType::kQ8_0:
      return pack_q8_0(x, out);
    default:
      return pack_q4_k(x, out);
  }
}

/// Codes of single numbers: `turn` maps x to a code's number.
void pack_numbers(PackedType type, const float* x, int64_t count, float scale, uint8_t* out) {
  if (type == PackedType::kInt8) {
    for (int64_t i = 0; i < count; ++i)
      out[i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(std::nearbyint(x[i] / scale), -128.0f, 127.0f)));
    return;
  }
  const bool e4m3 = type == PackedType::kE4m3;
  const float turn = 1 / scale, most = e4m3 ? 448.0f : 57344.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float number = std::clamp(x[i] * turn, -most, most);
    out[i] = e4m3 ? c10::Float8_e4m3fn(number).x : c10::Float8_e5m2(number).x;
  }
}

PackedWeight pack_scaled(const at::Tensor& numbers, PackedType type) {
  const int64_t rows = numbers.size(0), columns = numbers.size(1);
  const bool each_row = type == PackedType::kInt8;
  const at::Tensor largest = each_row ? numbers.abs().amax(1, true) : numbers.abs().max().view({1, 1});
  const float most = each_row ? 127.0f : type == PackedType::kE4m3 ? 448.0f : 57344.0f;
  at::Tensor scales = largest / most;
  scales = scales.masked_fill(scales == 0, 1.0);  // of a row of zeros: any will do
  const at::Tensor bytes = at::empty({rows * columns}, at::kByte);
  const float *from = numbers.const_data_ptr<float>(), *scale = scales.const_data_ptr<float>();
  auto* to = bytes.mutable_data_ptr<uint8_t>();
  parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      pack_numbers(type, from + row * columns, columns, scale[each_row ? row : 0], to + row * columns);
  });
  return {.type = type,
          .shape = numbers.sizes().vec(),
          .bytes = bytes,
          .scales = scales,
          .scale_rows = each_row ? 1 : rows,
          .scale_columns = columns};
}

}  // namespace

const std::vector<PackedType>& types_to_pack() {
  static const std::vector<PackedType> types = {PackedType::kE4m3, PackedType::kInt8, PackedType::kQ8_0,
                                                PackedType::kQ5_1, PackedType::kQ5_0, PackedType::kQ4_1,
                                                PackedType::kQ4_0, PackedType::kQ4K};
  return types;
}

std::string packed_name(PackedType type) {
  return type == PackedType::kE4m3 ? "fp8" : in_lower_case(format_of(type).name);
}

PackedWeight pack(const at::Tensor& numbers, PackedType type) {
  const PackedFormat& format = format_of(type);
  TORCH_CHECK(numbers.dim() == 2 && numbers.numel() > 0 && numbers.size(1) % format.numbers == 0, "cannot pack ",
              numbers.sizes(), " as ", format.name);
  const at::Tensor values = numbers.to(at::kFloat).contiguous();
  if (format.numbers == 1) return pack_scaled(values, type);
  const int64_t blocks = values.numel() / format.numbers;
  const at::Tensor bytes = at::empty({blocks * format.bytes}, at::kByte);
  const auto* from = values.const_data_ptr<float>();
  auto* to = bytes.mutable_data_ptr<uint8_t>();
  parallel_for(0, blocks, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pack_block(type, from + i * format.numbers, to + i * format.bytes);
  });
  return {.type = type, .shape = values.sizes().vec(), .bytes = bytes};
}

}  // namespace tessera
