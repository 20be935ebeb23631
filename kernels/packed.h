#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tessera {

/// How the numbers of a packed weight are stored: ggml's block types, and single numbers that a scale belongs to.
enum class PackedType {
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
  kFloat,
  kInt8Panels,  ///< int8 in the order of kernels/int8_product_simd.h; made by int8_tensor only
};

/// What is the same for every weight of a type.
struct PackedFormat {
  PackedType type;
  const char* name;  ///< as `info` shows it: "Q4_K", "fp8_e4m3fn"
  int64_t numbers;   ///< in a block
  int64_t bytes;     ///< of a block
};

const PackedFormat& format_of(PackedType type);

/// A product that is added to a weight: up [rows, rank] times down [rank, columns], both float32 and contiguous.
struct LowRank {
  at::Tensor up, down;
};

/// A weight whose numbers stay packed in memory, mostly inside a mapped file: [rows, columns], or any shape whose last
/// axis counts as columns. A number is the stored one, times the scale of its rows and columns, and then, with
/// `rotation`, each run of that many numbers of a row is multiplied by the regular Hadamard matrix of that size.
struct PackedWeight {
  PackedType type{};
  std::vector<int64_t> shape;       ///< as the network sees it; never empty
  at::Tensor bytes;                 ///< uint8, contiguous: the blocks of all numbers in order. Keeps the file mapped
  at::Tensor scales = {};           ///< float32 [scale rows, scale columns], contiguous; undefined: none
  int64_t scale_rows = 1;           ///< rows that share a scale
  int64_t scale_columns = 1;        ///< columns that share a scale
  int64_t rotation = 0;             ///< a power of 4 that divides the columns; 0: not rotated
  std::vector<LowRank> added = {};  ///< to the numbers, after scales and rotation: a LoRA
  /// Called with `bytes` after each use, to give the memory of a mapped file back; null: they stay.
  void (*release)(const at::Tensor& bytes) = nullptr;

  int64_t columns() const { return shape.back(); }
  int64_t numbers() const;
  int64_t rows() const;
};

/// Bytes that `numbers` numbers of a type take; nullopt when they are no whole number of blocks or the size overflows.
std::optional<int64_t> packed_bytes(PackedType type, int64_t numbers);

/// A tensor of the weight's shape and without storage, which says `dtype`, the one it is computed in. It goes where
/// tensors go; every operation of ATen on it throws. Throws c10::Error when bytes, scales or rotation do not fit.
at::Tensor packed_tensor(PackedWeight weight, at::ScalarType dtype = at::kFloat);

/// The weight behind a tensor made by packed_tensor; null for any other.
const PackedWeight* packed_weight(const at::Tensor& tensor);

/// The same weight computed in another dtype. The tensor must be packed.
at::Tensor packed_as(const at::Tensor& packed, at::ScalarType dtype);

/// Rows [first, first + count) of a packed matrix, still packed.
at::Tensor packed_rows(const at::Tensor& packed, int64_t first, int64_t count);

/// Rows [first, first + count) as numbers: `out` [count, columns], contiguous, float32, bfloat16 or float16 on the CPU,
/// or on a device with kernels of our own (kernels/device_kernels.h) on which the weight's bytes and scales lie too;
/// that takes neither rotated weights nor panels. Numbers are computed in float32 and rounded once.
void unpack_rows(const PackedWeight& weight, int64_t first, int64_t count, const at::Tensor& out);

/// Whether unpack_rows takes an `out` on this tensor's device and of its dtype, once bytes and scales lie there too.
bool can_unpack_to(const PackedWeight& weight, const at::Tensor& out);

/// All numbers, in the weight's shape; tensors that are not packed are converted.
at::Tensor unpacked(const at::Tensor& tensor, at::ScalarType dtype);

/// table[ids] over the first axis of a table that may be packed: [ids..., columns] in the table's dtype. (at::embedding
/// has no kernel on the meta device.)
at::Tensor gather_rows(const at::Tensor& table, const at::Tensor& ids);

/// How a tensor's numbers are stored, for people: the name of its packed format, else of its dtype.
std::string number_format(const at::Tensor& tensor);

/// Whether every number is finite, judged by scales and codes.
bool all_finite(const PackedWeight& weight);

/// Whether two packed tensors hold the same bytes and scales.
bool same_packed(const at::Tensor& a, const at::Tensor& b);

}  // namespace tessera
