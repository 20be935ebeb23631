#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/progress.h"
#include "metrics/metric.h"
#include "metrics/statistics_file.h"

namespace tessera {

/// What to compare: the part that sets of pictures and of videos have in common.
struct ScoreRequest {
  std::string generated, reference;  ///< reference may be empty: only save_stats then
  std::string save_stats;            ///< .npz for the statistics of the reference, or of the only set; empty: none
  bool skip_unreadable = false;      ///< leave out, whole, files that cannot be read instead of failing
  std::string matrix = "auto";       ///< by which the YUV of videos becomes RGB; see color_matrix_names
};

/// Who hears of a scoring on its way.
struct ScoreListener {
  ProgressStyle progress = ProgressStyle::kNone;         ///< of each set, on stderr
  std::function<void(const std::string& text)> on_note;  ///< warnings, a line each; may be empty

  void note(const std::string& text) const {
    if (on_note) on_note(text);
  }
};

/// Throws Error when there is neither a second set nor a file for statistics, and for a file that cannot be written.
/// `kept_is_statistics`: the set whose statistics would be kept is a statistics file itself.
void check_request(const ScoreRequest& request, bool kept_is_statistics);

/// The set that `file`, read from `path`, stands for. Throws Error when it cannot be compared with features of `dims`
/// that were made as `made_by` says (see check_comparable), and notes when it does not say how it was made.
FeatureSet set_of_statistics(const std::string& path, const StatisticsFile& file, int64_t dims,
                             const std::map<std::string, std::string>& made_by, const ScoreListener& listener);

}  // namespace tessera
