#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

/// The header of an array in NumPy's .npy format, versions 1 to 3.
struct NpyHeader {
  std::string descr;  ///< NumPy's type, e.g. "<f8"
  bool fortran_order = false;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;  ///< of the header itself; the data follows

  /// The dtype, for floats of 16 to 64 bits, signed integers, uint8 and bool. Throws Error naming `where` for Python
  /// objects, strings, structures and others.
  at::ScalarType dtype(const std::string& where) const;
  /// True for "<U3" and "|S3": text.
  bool is_text() const { return descr.size() > 2 && (descr[1] == 'U' || descr[1] == 'S'); }
  bool big_endian() const { return descr[0] == '>'; }
  /// Bytes of one element of any type. Throws Error naming `where` for Python objects and structures.
  uint64_t item_bytes(const std::string& where) const;
  /// Bytes of all data; throws Error when they do not fit in 63 bits.
  uint64_t data_bytes(const std::string& where) const;
};

/// What every .npy file begins with.
inline constexpr std::string_view kNpyMagic{"\x93NUMPY", 6};

/// The largest size of a .npy file's header, which is how many of its first bytes parse_npy_header needs.
inline constexpr uint64_t kMostNpyHeader = 65536 + 12;

/// Reads the header at the beginning of `start`, the first kMostNpyHeader bytes of a .npy file or all of it. Throws
/// Error naming `where` when it is not a valid header or is truncated.
NpyHeader parse_npy_header(std::span<const uint8_t> start, const std::string& where);

/// A version 1.0 header for little-endian data in C order, padded to 64 bytes.
std::string make_npy_header(const std::string& descr, at::IntArrayRef shape);

/// NumPy's little-endian name of a dtype, e.g. "<f8". Throws c10::Error for one that NumPy lacks.
std::string npy_descr(at::ScalarType dtype);

/// The tensor that `data` holds: contiguous, in the machine's byte order. `shape` may be part of the header's (fewer
/// rows). data.size() must match it.
at::Tensor npy_tensor(const NpyHeader& header, std::vector<int64_t> shape, std::span<const uint8_t> data,
                      const std::string& where);

}  // namespace tessera
