#pragma once

#include <cstdint>
#include <vector>

#include "kernels/bfloat16_bits.h"

// Direct convolution (no im2col matrix), for networks that run one picture a thread. Source and destination are
// [rows, columns, channels] with a border of zeros as wide as the kernels need, so that no tap needs a bounds check.
// The program is built for any x86-64; these kernels are compiled for AVX-512 and chosen at run time.
namespace tessera {

/// The numbers a network computes with. Products of bfloat16 are summed in float32.
enum class DirectType { kFloat, kBfloat16 };

/// Whether this machine has the instructions (AVX512F/BW/DQ/VL, and AVX512-BF16 for bfloat16).
bool has_direct_conv(DirectType type);

/// Bytes of one value.
inline int64_t bytes_of(DirectType type) {
  return type == DirectType::kFloat ? 4 : 2;
}

/// What happens to a sum before it is stored.
enum class DirectStore {
  kRelu,       ///< max(sum + bias, 0) in the network's type
  kReluFloat,  ///< the same in float32
  kRawFloat    ///< the sum alone, in float32
};

/// One convolution at a fixed size. Offsets are in values of the buffer that they point into.
struct DirectConv {
  std::vector<int32_t> from;      ///< for each output pixel the offset of its first tap in the source
  std::vector<int32_t> to;        ///< for each output pixel the offset of its first channel in the destination
  int64_t rows = 1;               ///< kernel rows
  int64_t row_pitch = 0;          ///< values between two rows of the source
  int64_t run = 0;                ///< kernel columns * input channels, which are contiguous; a multiple of 4
  int64_t channels = 0;           ///< output channels, 32 or more, a multiple of 16
  const void* weights = nullptr;  ///< as pack_direct_weights wrote them
  const float* bias = nullptr;    ///< [channels]; unused for kRawFloat
  DirectStore store = DirectStore::kRelu;
};

/// How many of the `left` output channels (a multiple of 16) one pass over the pixels computes.
int64_t direct_block(int64_t left);

/// Values that pack_direct_weights writes.
int64_t packed_weight_count(int64_t rows, int64_t run, int64_t channels);

/// Reorders weights [channels, rows, run] (float32, a run holding columns then input channels) for the kernels, rounded
/// to `type`.
void pack_direct_weights(DirectType type, const float* weights, int64_t rows, int64_t run, int64_t channels,
                         void* packed);

/// Runs one convolution on this thread. Throws c10::Error without has_direct_conv(type).
void direct_conv(DirectType type, const DirectConv& conv, const void* from, void* to);

/// A window that slides over a picture of `channels` (a multiple of 16) values a pixel.
struct DirectPool {
  std::vector<int32_t> from;  ///< for each output pixel the offset of the window's first pixel in the source
  std::vector<int32_t> to;    ///< for each output pixel the offset of its first channel in the destination
  std::vector<float> scale;   ///< average only: for each output pixel 1 / (pixels of the window inside the picture)
  int64_t row_pitch = 0, channels = 0;
  const float* bias = nullptr;  ///< average only: [channels]
};

/// The largest value of each 3x3 window. Values must not be negative (the border of zeros then never wins wrongly).
void direct_max_pool(DirectType type, const DirectPool& pool, const void* from, void* to);

/// max(mean of each 3x3 window of a float32 source + bias, 0) in the network's type, or in float32.
void direct_average_pool(DirectType type, const DirectPool& pool, const float* from, void* to, bool to_float);

/// Adds `count` pixels of `channels` (a multiple of 16) values at the offsets `from` to float32 sums.
void direct_sum(DirectType type, const int32_t* from, int64_t count, int64_t channels, const void* source, float* sums);

/// Interleaves three float32 planes of 16 or more pixels into pixels of four values (the fourth zero): x * scale +
/// shift.
void direct_input(DirectType type, const float* planes, int64_t height, int64_t width, float scale, float shift,
                  void* to);

}  // namespace tessera
