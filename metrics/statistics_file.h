#pragma once

#include <filesystem>
#include <string>

#include "metrics/made_by.h"
#include "metrics/statistics.h"

namespace tessera {

/// Most features that statistics may have: 2 GiB of covariance.
inline constexpr int64_t kMostFeatures = 16384;

/// Mean and covariance as files exchange them, and how they were made, so that only like is compared with like.
struct StatisticsFile {
  Gaussian gaussian;
  MadeBy made_by = {};
  std::string keys = {};  ///< what was read, for reports: "mu, sigma"
};

/// Which of several statistics in one pickle.
struct StatisticsChoice {
  std::string key = {};       ///< must be there; empty: `usual` or, when there is none of that name, the only one
  std::string usual = "fid";  ///< EDM2's name for those of the FID Inception; empty: none
};

/// Writes an .npz with mu [D] and sigma [D, D] in float64, which pytorch-fid and clean-fid read as theirs, and besides
/// count and, under "tessera", made_by as JSON.
void write_statistics(const std::filesystem::path& path, const StatisticsFile& statistics);

/// Reads mu and sigma (float64 or float32) of an .npz by this program, pytorch-fid, clean-fid or ADM's evaluator (other
/// arrays are ignored), or of a pickle (.pkl) by EDM2; raw_mean, raw_cov and num_items of one by StyleGAN, whose
/// covariance is over N. Throws Error naming the file when they are absent, ill-shaped, no numbers, not finite, not
/// symmetric, or beyond kMostFeatures, when `choice` fits none or several, and as NpzFile and read_pickle do.
StatisticsFile read_statistics(const std::filesystem::path& path, const StatisticsChoice& choice = {});

/// Throws Error naming `path` when `found`, its number of features, is not `dims`.
void check_dims(int64_t found, const std::filesystem::path& path, int64_t dims);

/// check_dims and check_made_by.
bool check_comparable(const StatisticsFile& file, const std::filesystem::path& path, int64_t dims,
                      const MadeBy& made_by);

}  // namespace tessera
