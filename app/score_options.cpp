#include "app/score_options.h"

#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>

#include "app/command_line.h"
#include "media/video_reader.h"

namespace tessera {

void add_reading_options(CLI::App& command, ScoreRequest& request) {
  const std::string group = "What to compare";
  command
      .add_flag(option_names("", {"skip-unreadable"}), request.skip_unreadable,
                "Leave out files that cannot be read to their end, and list them, instead of failing")
      ->group(group);
  command
      .add_option("--matrix", request.matrix,
                  "YUV to RGB of videos: auto (as each is tagged, BT.601 if untagged), or one for all, whatever their "
                  "tags: bt601, bt709, bt2020")
      ->type_name("NAME")
      ->check(CLI::IsMember(color_matrix_names()))
      ->capture_default_str()
      ->group(group);
}

void add_score_output_options(CLI::App& command, ScoreRequest& request, ScoreOutput& output) {
  command
      .add_option(option_names("", {"save-stats"}), request.save_stats,
                  "Keep the statistics of REFERENCE (of the only set, when there is one) for later runs")
      ->type_name("FILE.npz")
      ->group("Output");
  command
      .add_option(option_names("", {"dump-features"}), request.dump_features,
                  "Keep the features of GENERATED (or of the only set), which can be a set of later runs")
      ->type_name("FILE.npz")
      ->group("Output");
  command
      .add_option(option_names("", {"dump-reference-features"}), request.dump_reference_features,
                  "Keep the features of REFERENCE")
      ->type_name("FILE.npz")
      ->group("Output");
  command
      .add_option(option_names("", {"stats-key"}), request.stats_key,
                  "Which statistics of a .pkl that holds several, e.g. fd_dinov2; without it fid, or the only ones")
      ->type_name("NAME")
      ->group("What to compare");
  command.add_flag("--json", output.json, "One JSON object on stdout")->group("Output");
  command.add_flag("-q,--quiet", output.quiet, "No progress on stderr")->group("Output");
}

void add_live_fid_options(CLI::App& command, LiveFidRequest& request) {
  const std::string group = "Scoring while rendering";
  CLI::Option* reference =
      command
          .add_option(option_names("", {"fid-reference"}), request.reference,
                      "Print the FID of all rendered pictures and frames to these statistics (see tessera fid)")
          ->type_name("FILE.npz")
          ->group(group);
  CLI::Option* weights = command
                             .add_option(option_names("", {"fid-weights"}), request.weights,
                                         "The FID Inception's file; without it from the cache")
                             ->type_name("FILE")
                             ->needs(reference)
                             ->group(group);
  command
      .add_option(option_names("", {"fid-extractor"}), request.extractor,
                  "A TorchScript program in Inception's place, which this runs; the score is then no FID")
      ->type_name("FILE")
      ->needs(reference)
      ->excludes(weights)
      ->group(group);
  command
      .add_option(option_names("", {"fid-protocol"}), request.protocol,
                  "How pictures are resized: pytorch-fid, torch-fidelity or clean")
      ->type_name("NAME")
      ->needs(reference)
      ->capture_default_str()
      ->group(group);
}

}  // namespace tessera
