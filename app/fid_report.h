#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/score_options.h"
#include "metrics/extractor.h"
#include "metrics/image_features.h"
#include "metrics/kid.h"
#include "metrics/neighbors.h"
#include "metrics/protocol.h"
#include "metrics/sampling_error.h"

namespace tessera {

/// The flags of `tessera fid`.
struct FidOptions : ScoreOptions {
  std::string protocol = "pytorch-fid", weights, extractor;
  std::string metrics = "fid", dtype = "auto", device = "auto";
  int64_t dims = 2048, batch_size = 0, seed = 2020, neighbors = 3, bootstrap = 0, extractor_size = 299;
  int threads = 0;
  bool skip_unreadable = false, per_class = false, infinity = false;

  std::set<std::string> metric_set() const;  ///< throws Error for a name that is none of fid, kid, is, prdc
};

/// One of the two sets, measured or read from a file of statistics.
struct FidSide {
  std::string path;
  Gaussian gaussian;
  std::optional<ImageFeatures> images;  ///< unset for statistics
  int64_t videos = 0;

  int64_t count() const { return gaussian.count.value_or(0); }  ///< 0: unknown
};

/// Frechet distance of the pictures in sub-folders of the same name.
struct ClassDistance {
  std::string name;
  int64_t generated = 0, reference = 0;
  std::optional<double> distance;  ///< unset when a side has fewer than two pictures
};

struct FidScores {
  std::optional<double> fid;
  std::optional<BootstrapInterval> interval;
  std::optional<FidInfinity> infinity;
  std::optional<ScoreSpread> kid, inception;
  int64_t kid_subset = 0;
  std::optional<NeighborScores> neighbors;
  std::vector<ClassDistance> classes;
};

/// Computes what the options ask for. Throws Error when a set is too small for a score.
FidScores score_sets(const FidOptions& options, const FidSide& generated, const FidSide& reference);

/// Everything that another person needs to repeat or to judge the numbers.
nlohmann::ordered_json fid_json(const FidOptions& options, const Protocol& protocol, const ExtractorInfo& info,
                                const FidSide& generated, const FidSide& reference, const FidScores& scores);
/// The same for people, one score a line.
std::string fid_text(const FidOptions& options, const Protocol& protocol, const ExtractorInfo& info,
                     const FidSide& generated, const FidSide& reference, const FidScores& scores);

}  // namespace tessera
