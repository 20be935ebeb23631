#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weights/npy.h"

namespace tessera {

/// The arrays of a NumPy archive (.npz, as np.savez and np.savez_compressed write it: stored or deflated, zip64 too),
/// or the one array of a .npy file, which is then called arr_0 and has no checksum. Nothing in it is executed: pickled
/// objects are an error. Every error is one line that names the file and the array.
class NpzFile {
 public:
  /// Maps the file and reads its directory. Throws Error when it is absent, neither a zip archive nor an array, or
  /// damaged.
  explicit NpzFile(const std::filesystem::path& path);

  const std::string& where() const;
  /// Names of the arrays, without ".npy".
  std::vector<std::string> names() const;
  /// The names for a message, on one line: `"mu", "sigma" and 3 more`.
  std::string listing() const;
  bool has(const std::string& name) const;

  /// Type and shape of an array, read without its data. Throws Error when there is none of that name, or when the
  /// header's claims do not fit the bytes that are there.
  NpyHeader header(const std::string& name) const;

  /// A whole array of numbers, contiguous, in C order. Check header() first where a large array would be a surprise.
  /// Throws Error as header() does, and when the data are damaged (CRC-32).
  at::Tensor read(const std::string& name) const;

  /// A text array without dimensions, as np.array("...") makes it; characters beyond ASCII become "?". Empty when
  /// there is no such array.
  std::optional<std::string> text(const std::string& name) const;

  struct Archive;
  class Stream;

 private:
  std::shared_ptr<const Archive> archive_;
  friend class NpzRows;
};

/// The rows (first axis) of one array, in order, a few at a time: arrays larger than memory, such as ADM's arr_0 of
/// uint8 pictures [N, H, W, 3], are read with one chunk in memory. An array in Fortran order is held whole.
class NpzRows {
 public:
  /// Throws Error as NpzFile::header does, for arrays in Fortran order of more than 1 GiB, and for those without
  /// dimensions.
  NpzRows(const NpzFile& file, const std::string& name);
  ~NpzRows();
  NpzRows(const NpzRows&) = delete;
  NpzRows& operator=(const NpzRows&) = delete;

  const NpyHeader& header() const { return header_; }
  /// The next `count` rows, fewer at the end, none ([0, ...]) after it. Throws Error when the data are damaged.
  at::Tensor next(int64_t count);

 private:
  NpyHeader header_;
  std::string where_;
  std::unique_ptr<NpzFile::Stream> stream_;
  at::Tensor turned_;  // in C order; undefined where rows come from the stream
  int64_t read_ = 0;
};

/// Writes arrays, texts, and lists of texts (UTF-8; a byte that is not becomes the lone surrogate that Python's file
/// names have there) as np.savez would, atomically; equal input gives equal bytes. Readable by numpy.load and by
/// NpzFile. Throws Error when the file cannot be written.
void write_npz(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& arrays,
               const std::map<std::string, std::string>& texts = {},
               const std::map<std::string, std::vector<std::string>>& lists = {});

}  // namespace tessera
