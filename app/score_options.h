#pragma once

#include "metrics/live_fid.h"
#include "metrics/score_request.h"

namespace CLI {
class App;
}

namespace tessera {

/// How a command that scores two sets prints.
struct ScoreOutput {
  bool json = false, quiet = false;
};

/// What --extractor names: "bundled" is the folder classifier/ of the bundled model. Throws Error when there is none.
std::string extractor_path(const std::string& named);

/// --skip-unreadable and --matrix: how the files of both sets are read.
void add_reading_options(CLI::App& command, ScoreRequest& request);

/// --stats-key, --save-stats, --dump-features, --json and --quiet of the commands that score two sets.
void add_score_output_options(CLI::App& command, ScoreRequest& request, ScoreOutput& output);

/// --fid-reference and what goes with it, of the commands that render.
void add_live_fid_options(CLI::App& command, LiveFidRequest& request);

}  // namespace tessera
