#pragma once

#include <filesystem>

#include "metrics/statistics_file.h"

namespace tessera {

/// The part of read_statistics that reads pickles: {"mu", "sigma"}, {"fid": {"mu", "sigma"}, "fd_dinov2": ...} (EDM2),
/// {"raw_mean", "raw_cov", "num_items"} (StyleGAN's FeatureStats: sums of x and of x x^T).
StatisticsFile read_pickled_statistics(const std::filesystem::path& path, const StatisticsChoice& choice);

}  // namespace tessera
