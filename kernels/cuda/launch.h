#pragma once

#include <cstdint>

// What the program and its CUDA plug-in, libtessera_cuda.so, share: plain structs and functions, so that no .cu file
// includes LibTorch's headers. All pointers are to the device's memory and all tensors are contiguous. Arithmetic is
// float32 and every result is rounded once. Functions queue work on `stream` (a cudaStream_t) of the current device and
// return a cudaError_t, 0 for success.
namespace tessera::cuda {

enum class Value : int32_t { kFloat, kBfloat16, kHalf };

/// A token grid (frames, height, width) cut into blocks: the M blocks of `size` tokens may reach beyond `tokens`.
/// Grouped tensors are [M, B, H, P, D] with P = volume(size), zero at places beyond the grid.
struct BlockCut {
  int32_t tokens[3], size[3], blocks[3];
};

/// RMS norm over all heads of a token, relu + 1e-6, rotation of the pairs (2i, 2i + 1), grouping; each may be left out.
/// x [B, N, H * D].
struct Features {
  Value x_type, y_type;  ///< y_type is x_type or kFloat
  const void* x;
  const float* weight;  ///< [H * D], or null: no norm
  float eps;
  bool features;         ///< relu + 1e-6
  const float* cosines;  ///< [N, D], or null: no rotation
  const float* sines;    ///< [N, D], negative for the first of a pair
  bool grouped;          ///< y and unrotated are grouped by `cut`, else [B, N, H * D]
  BlockCut cut;
  int64_t batch, tokens;
  int32_t heads, head_dim;
  void* y;
  float* unrotated;  ///< what y was before rotation, in y's layout, or null
};

/// Grouped x back to raster order, [B, N, H * D]: divided by a guarded normalizer, normed by head, gated; each may be
/// left out.
struct Ungroup {
  Value x_type, y_type;  ///< x_type is y_type or kFloat
  const void* x;
  const float* normalizer;  ///< [M, B, H, P], or null; divisors are at least `least_normalizer` from zero, sign kept
  float least_normalizer;
  const float* weight;  ///< [D] of each head's RMS norm, or null: no norm
  float eps;
  const void* gate;  ///< y_type [B, N, H * D]: y is multiplied with its SiLU; or null
  BlockCut cut;
  int64_t batch, tokens;
  int32_t heads, head_dim;
  void* y;
};

/// h = x + update * gate, y = layer_norm(h) * (scale + scale_offset) + shift. All of one type; x [R, N, C], the rest a
/// row [C] for each of the R samples, or one for all where `shared`.
struct AdaptiveNorm {
  Value type;
  const void *x, *update;  ///< update [R, N, C], or null: h is x, not written
  const void* gate;        ///< or null: 1
  const void *scale, *shift;
  float scale_offset;
  bool shared;  ///< scale and shift are the same for every sample
  float eps;
  int64_t samples, tokens;
  int32_t channels;
  void *h, *y;
};

/// y = base + depthwise convolution of x + bias, with zeros beyond the grid. x, y and base [B, N, C] in raster order.
struct Depthwise {
  Value type;
  const void *x, *base;  ///< base may be null
  const float* weight;   ///< [C, taps of the kernel], kernel sizes odd
  const float* bias;     ///< [C], or null
  int32_t tokens[3], kernel[3];
  int64_t batch;
  int32_t channels;
  void* y;
};
constexpr int kMostTaps = 81;  ///< of a depthwise kernel

/// z[g] = sum over places of k[g]; float32, k [groups, places, head_dim], z [groups, head_dim].
struct KeySums {
  const float* k;
  int64_t groups;
  int32_t places, head_dim;
  float* z;
};

/// n[g, p] = q[g, p] . z[g] + eps; float32, q [groups, places, head_dim], n [groups, places], where groups are
/// [M, batch * heads]. With `fill`, places of a ragged block beyond the grid hold the mean of the block's others.
struct Products {
  const float *q, *z;
  float eps;
  bool fill;
  BlockCut cut;  ///< read only with `fill`
  int64_t groups;
  int32_t groups_of_block, places, head_dim;
  float* n;
};

/// How packed numbers are stored, in the order of PackedType (kernels/packed.h).
enum class Packed : int32_t {
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2K,
  kQ3K,
  kQ4K,
  kQ5K,
  kQ6K,
  kInt8,
  kE4m3,
  kE5m2,
  kHalf,
  kBfloat16,
  kFloat
};

/// Numbers [first * columns, (first + rows) * columns) of a packed matrix, times their scales. The arithmetic of a
/// number is that of kernels/unpack_blocks.h, bit for bit.
struct Unpack {
  Packed packed;
  Value type;
  const uint8_t* bytes;  ///< of the whole matrix
  const float* scales;   ///< [scale rows, columns / scale_columns rounded up], or null
  int64_t scale_rows, scale_columns;
  int64_t first, rows, columns;
  void* y;  ///< [rows, columns]
};

/// What the plug-in offers.
struct Kernels {
  int64_t version;
  const char* (*error_text)(int error);
  int (*features)(const Features&, void* stream);
  int (*ungroup)(const Ungroup&, void* stream);
  int (*adaptive_norm)(const AdaptiveNorm&, void* stream);
  int (*depthwise)(const Depthwise&, void* stream);
  int (*key_sums)(const KeySums&, void* stream);
  int (*products)(const Products&, void* stream);
  int (*unpack)(const Unpack&, void* stream);
};

/// Raised with every change of this file.
constexpr int64_t kVersion = 1;

}  // namespace tessera::cuda

/// The one symbol of the plug-in.
extern "C" const tessera::cuda::Kernels* tessera_cuda_kernels();
