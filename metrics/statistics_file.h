#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "metrics/statistics.h"

namespace tessera {

/// Mean and covariance as files exchange them, and how they were made, so that only like is compared with like.
struct StatisticsFile {
  Gaussian gaussian;
  /// "protocol", "weights" (SHA-256 of the network's file), "extractor", "dtype" and what else a command finds worth
  /// knowing; empty in files of other tools.
  std::map<std::string, std::string> made_by;
};

/// Writes an .npz with mu [D] and sigma [D, D] in float64, which pytorch-fid and clean-fid read as theirs, and besides
/// count and, under "tessera", made_by as JSON.
void write_statistics(const std::filesystem::path& path, const StatisticsFile& statistics);

/// Reads mu and sigma (float64 or float32) of an .npz by this program, pytorch-fid, clean-fid or ADM's evaluator; other
/// arrays are ignored. Throws Error naming the file when they are absent, ill-shaped, no numbers, or beyond 16,384
/// features, and as NpzFile does.
StatisticsFile read_statistics(const std::filesystem::path& path);

/// Throws Error naming `path` and both values when the file has another number of features than `dims`, or says for one
/// of `made_by`'s keys something else; "dtype" alone may differ. Returns false when the file does not say how it was
/// made, which is worth a warning.
bool check_comparable(const StatisticsFile& file, const std::filesystem::path& path, int64_t dims,
                      const std::map<std::string, std::string>& made_by);

}  // namespace tessera
