#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tessera {

// Notation: F(m, r) computes m neighboring outputs of an r-tap filter together. A tile's outputs are
// A^T [(G g G^T) * (B^T d B)] A with the input tile d, the filter g and an elementwise product.

/// A convolution of stride 1 in bfloat16 by Winograd's minimal filtering along each axis that the kernel reaches along:
/// F(2, 3) with 4 multiplications instead of 6, F(4, 3) with 6 instead of 12, F(4, 5) with 11 instead of 20, F(4, 7)
/// with 16 instead of 28. Input and filter transforms are float32, rounded to bfloat16; sums and the output transform
/// are float32. Source and destination are laid out as for direct_conv; where height or width is not a multiple of
/// winograd_tile, the source's border has to reach as far as if it were (what is read there does not count). Needs
/// has_direct_conv(DirectType::kBfloat16). Source: Lavin & Gray, arXiv 1509.09308; Winograd, Arithmetic Complexity of
/// Computations (1980).
struct WinogradConv {
  int64_t rows = 3, columns = 3;  ///< of the kernel, see has_winograd
  int64_t height = 0, width = 0;  ///< of the outputs
  int64_t in = 0, out = 0;        ///< channels, multiples of 16; out is 32 or more
  int64_t from = 0;               ///< offset, in values, of the first output's first tap in the source
  int64_t from_pitch = 0;         ///< values between two rows of the source; its pixels have `in` values
  int64_t to = 0;                 ///< offset of the first output's first channel in the destination
  int64_t to_pitch = 0;           ///< values between two rows of the destination
  int64_t to_pixel = 0;           ///< values between two pixels of the destination
  bool to_float = false;          ///< whether the destination is float32
  const void* weights = nullptr;  ///< as pack_winograd wrote them
  const float* bias = nullptr;    ///< [out]
};

/// Whether there are kernels of this size: 3x3, 5x5, 1x3, 3x1, 1x7 and 7x1.
bool has_winograd(int64_t rows, int64_t columns);

/// Outputs of one tile for a kernel of this size.
struct WinogradTile {
  int64_t rows, columns;
};
WinogradTile winograd_tile(int64_t rows, int64_t columns);

/// G g G^T for every filter of weight [out, in, rows, columns]: [terms, out, in] float32, not rounded.
at::Tensor winograd_filter_transform(const at::Tensor& weight);

/// Transformed filters [terms, out, in] of a kernel of that size -> [out, in]: what they make of a constant picture of
/// ones, the mean over a tile's outputs. For winograd_filter_transform(w) that is the sum of w's taps.
at::Tensor winograd_response(const at::Tensor& transformed, int64_t rows, int64_t columns);

/// Reorders transformed filters [terms, out, in] for winograd_conv and rounds them to bfloat16; returns bytes.
at::Tensor pack_winograd(const at::Tensor& transformed, int64_t rows, int64_t columns);

/// Bytes of scratch memory that one call needs.
int64_t winograd_scratch_bytes(const WinogradConv& conv);

/// relu(convolution + bias) from bfloat16 on this thread. Throws c10::Error where there is no such kernel.
void winograd_conv(const WinogradConv& conv, const void* from, void* to, void* scratch);

}  // namespace tessera
