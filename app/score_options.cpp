#include "app/score_options.h"

#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>

#include "app/command_line.h"
#include "checkpoints/bundled_model.h"
#include "core/error.h"
#include "core/paths.h"
#include "media/video_reader.h"

namespace tessera {

std::string extractor_path(const std::string& named) {
  if (named != "bundled") return named;
  const std::filesystem::path folder = find_bundled_model() / "classifier";
  if (!is_folder(folder))
    throw Error("bundled: no bundled feature network: there is no folder " + folder.string() +
                "; train one (tessera train classifier --config training/configs/classifier.json) and name its folder");
  return folder.string();
}

void add_reading_options(CLI::App& command, ScoreRequest& request) {
  const std::string group = "What to compare";
  command
      .add_flag(option_names("", {"skip-unreadable"}), request.skip_unreadable,
                "Skip and list files that cannot be read to their end instead of failing")
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
                  "Save the statistics of REFERENCE (or of GENERATED, if it is the only set) for later runs")
      ->type_name("FILE.npz")
      ->group("Output");
  command
      .add_option(option_names("", {"dump-features"}), request.dump_features,
                  "Save the features of GENERATED (or of the only set), which later runs accept as a set")
      ->type_name("FILE.npz")
      ->group("Output");
  command
      .add_option(option_names("", {"dump-reference-features"}), request.dump_reference_features,
                  "Save the features of REFERENCE")
      ->type_name("FILE.npz")
      ->group("Output");
  command
      .add_option(option_names("", {"stats-key"}), request.stats_key,
                  "Which statistics of a .pkl that holds several, e.g. fd_dinov2; default: fid, or the only ones")
      ->type_name("NAME")
      ->group("What to compare");
  command.add_flag("--json", output.json, "Print one JSON object to stdout")->group("Output");
  command.add_flag("-q,--quiet", output.quiet, find_job_option("quiet").help)->group("Output");
}

void add_live_fid_options(CLI::App& command, LiveFidRequest& request) {
  const std::string group = "Scoring while rendering";
  CLI::Option* reference =
      command
          .add_option(
              option_names("", {"fid-reference"}), request.reference,
              "Print the FID between all rendered frames and these statistics (made with tessera fid --save-stats)")
          ->type_name("FILE.npz")
          ->group(group);
  CLI::Option* weights = command
                             .add_option(option_names("", {"fid-weights"}), request.weights,
                                         "FID Inception weights; default: the file in the cache")
                             ->type_name("FILE")
                             ->needs(reference)
                             ->group(group);
  command
      .add_option(
          option_names("", {"fid-extractor"}), request.extractor,
          "Use this TorchScript network instead (its code is run), a folder written by tessera train classifier, "
          "or bundled; the score is then not called FID")
      ->type_name("FILE")
      ->transform(extractor_path)
      ->needs(reference)
      ->excludes(weights)
      ->group(group);
  command
      .add_option(option_names("", {"fid-protocol"}), request.protocol,
                  "Tool whose resizing to use: pytorch-fid, torch-fidelity or clean")
      ->type_name("NAME")
      ->needs(reference)
      ->capture_default_str()
      ->group(group);
}

}  // namespace tessera
