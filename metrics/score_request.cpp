#include "metrics/score_request.h"

#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {

void check_request(const ScoreRequest& request, bool kept_is_statistics) {
  if (request.reference.empty() && request.save_stats.empty())
    throw Error("want two sets to compare, or one and --save-stats FILE to keep its statistics");
  if (request.save_stats.empty()) return;
  if (kept_is_statistics)
    throw Error("--save-stats keeps the statistics of " +
                (request.reference.empty() ? request.generated : request.reference) +
                ", which is a statistics file already");
  if (!request.save_stats.ends_with(".npz"))
    throw Error("--save-stats wants a name ending in .npz, got " + request.save_stats);
  check_writable(request.save_stats);
}

FeatureSet set_of_statistics(const std::string& path, const StatisticsFile& file, int64_t dims,
                             const std::map<std::string, std::string>& made_by, const ScoreListener& listener) {
  if (!check_comparable(file, path, dims, made_by))
    listener.note(path + " does not say how it was made; the score holds only if it was this network and protocol");
  FeatureSet set;
  set.path = path;
  set.gaussian = file.gaussian;
  set.is_statistics = true;
  return set;
}

}  // namespace tessera
