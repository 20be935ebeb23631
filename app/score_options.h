#pragma once

#include <string>

namespace CLI {
class App;
}

namespace tessera {

/// What the commands that score two sets have in common.
struct ScoreOptions {
  std::string generated, reference;  ///< reference may be empty: only save_stats then
  std::string save_stats;
  bool json = false, quiet = false;
};

/// Throws Error when there is neither a second set nor a file for statistics, and for a file that cannot be written.
/// `kept_is_statistics`: the set whose statistics would be kept is a statistics file itself.
void check_score_options(const ScoreOptions& options, bool kept_is_statistics);

/// --save-stats, --json and --quiet.
void add_score_output_options(CLI::App& command, ScoreOptions& options);

}  // namespace tessera
