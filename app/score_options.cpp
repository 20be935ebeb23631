#include "app/score_options.h"

#include "app/command_line.h"
#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {

void check_score_options(const ScoreOptions& options, bool kept_is_statistics) {
  if (options.reference.empty() && options.save_stats.empty())
    throw Error("want two sets to compare, or one and --save-stats FILE to keep its statistics");
  if (options.save_stats.empty()) return;
  if (kept_is_statistics)
    throw Error("--save-stats keeps the statistics of " +
                (options.reference.empty() ? options.generated : options.reference) +
                ", which is a statistics file already");
  if (!options.save_stats.ends_with(".npz"))
    throw Error("--save-stats wants a name ending in .npz, got " + options.save_stats);
  check_writable(options.save_stats);
}

void add_score_output_options(CLI::App& command, ScoreOptions& options) {
  command
      .add_option(option_names("", {"save-stats"}), options.save_stats,
                  "Keep the statistics of REFERENCE (of the only set, when there is one) for later runs")
      ->type_name("FILE.npz")
      ->group("Output");
  command.add_flag("--json", options.json, "One JSON object on stdout")->group("Output");
  command.add_flag("-q,--quiet", options.quiet, "No progress on stderr")->group("Output");
}

}  // namespace tessera
