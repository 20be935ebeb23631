#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "metrics/made_by.h"
#include "metrics/statistics.h"

namespace tessera {

/// The features of a set as files exchange them, and how they were made.
struct FeaturesFile {
  std::string array;    ///< its name in the file
  at::Tensor features;  ///< [N, D] float32, mapped: do not write to it
  Gaussian gaussian;
  MadeBy made_by;
};

/// Writes an .npz atomically: feats [N, D] in float32 (the name that clean-fid uses), names [N] with the file that each
/// row comes from (FILE#INDEX for a frame of a video and a row of an array), and made_by under "tessera".
void write_features(const std::filesystem::path& path, const at::Tensor& features,
                    const std::vector<std::string>& names, const MadeBy& made_by);

/// Reads the array `name`, [N, D] of floats, of an .npz or .npy, a few rows at a time. Throws Error naming the file and
/// the array for another shape or type, fewer than 2 rows, NaN, more than 16,384 features, and as NpzRows does.
FeaturesFile read_features(const std::filesystem::path& path, const std::string& name, CovarianceDivisor divisor);

}  // namespace tessera
