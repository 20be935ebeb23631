#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "metrics/array_file.h"
#include "metrics/features_file.h"
#include "metrics/metric.h"
#include "metrics/statistics_file.h"

namespace tessera {

/// What to compare: the part that sets of pictures and of videos have in common.
struct ScoreRequest {
  std::string generated, reference;     ///< reference may be empty: only files are kept then
  std::string save_stats;               ///< .npz for the statistics of the reference, or of the only set; empty: none
  std::string dump_features;            ///< .npz for the features of the first set; empty: none
  std::string dump_reference_features;  ///< likewise of the reference
  std::string stats_key;                ///< which statistics of a pickle; empty: see StatisticsChoice
  bool skip_unreadable = false;         ///< leave out, whole, files that cannot be read instead of failing
  std::string matrix = "auto";          ///< by which the YUV of videos becomes RGB; see color_matrix_names

  /// The files to be kept, in this order.
  std::vector<std::string> kept_files() const;
};

/// Who hears of a scoring on its way.
struct ScoreListener {
  ProgressStyle progress = ProgressStyle::kNone;         ///< of each set, on stderr
  std::function<void(const std::string& text)> on_note;  ///< warnings, a line each; may be empty

  void note(const std::string& text) const {
    if (on_note) on_note(text);
  }
};

/// One side that is a file of arrays, if it is one, read before any network runs. Statistics and something else may
/// both be there: they give the mean and the covariance then, and the rest gives all else.
struct ArrayInput {
  std::optional<StatisticsFile> statistics = {};
  std::shared_ptr<const FrechetSide> side = nullptr;  ///< of the statistics
  std::optional<FeaturesFile> features = {};
};

/// Reads what `held` says is in the file. Throws Error as read_statistics and read_features do, and when the statistics
/// are no Gaussian's.
ArrayInput read_arrays(const std::string& path, const ArrayFile& held, const StatisticsChoice& choice,
                       CovarianceDivisor divisor);

/// Throws Error when there is neither a second set nor a file to keep, for a file that cannot be written, and for
/// --stats-key when neither set is a pickle.
void check_request(const ScoreRequest& request);

/// Throws Error when a set has nothing that a file to keep could hold.
void check_kept(const ScoreRequest& request, SetContent generated, SetContent reference);

/// What files of a set say of how they were made, for those that it has.
std::vector<MadeBy> records_of(const ArrayInput& input);

/// Throws Error when what the file at `path` has cannot be compared with features of `dims` that were made as `made_by`
/// says (see check_made_by), and notes when it does not say how it was made.
void check_arrays(const std::string& path, const ArrayInput& input, int64_t dims, const MadeBy& made_by,
                  const ScoreListener& listener);

/// Gives `set` the features of the file and their mean and covariance, or those of its statistics, if it has any.
void add_features(FeatureSet& set, const ArrayInput& input);
void add_statistics(FeatureSet& set, const ArrayInput& input);

/// The dtype that the mean and covariance of the file were computed in, "" where it does not say; `otherwise` when the
/// file has none.
std::string dtype_of(const ArrayInput& input, const std::string& otherwise);

}  // namespace tessera
