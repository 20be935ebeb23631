#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "weights/npz.h"

namespace tessera {

/// What the numbers of an array of pictures mean, where the array itself does not tell.
struct ArrayForm {
  std::string layout = "auto";  ///< of array_layouts(); "auto": whichever axis has 3 channels, if only one has
  std::string range = "";       ///< of array_ranges(): what black and white are; empty: uint8, and nothing else
};

std::vector<std::string> array_layouts();
std::vector<std::string> array_ranges();

/// The pictures of an array in a file, one after the other; one is in memory at a time.
class PictureArray {
 public:
  /// Throws Error naming the file and the array when that is no [N, H, W, 3] or [N, 3, H, W] with 1 picture or more of
  /// at most 358 million pixels, when its form is not clear and `form` does not say it, and as NpzRows does.
  PictureArray(const std::filesystem::path& path, const std::string& name, const ArrayForm& form);

  int64_t count() const { return rows_.header().shape[0]; }
  /// The next one, [H, W, 3] uint8; numbers of another range are rounded to the nearest of 256 levels, as for a PNG.
  /// Call it count() times. Throws Error when a value is NaN or outside of the range, or the data are damaged.
  at::Tensor next();

 private:
  std::string where_;
  NpzRows rows_;
  bool channels_first_ = false;
  double low_ = 0, high_ = 255;
  int64_t read_ = 0;
};

}  // namespace tessera
