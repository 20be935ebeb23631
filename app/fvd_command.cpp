#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "app/score_report.h"
#include "core/cancel.h"
#include "core/new_folders.h"
#include "metrics/video_scores.h"

namespace tessera {
namespace {

struct FvdOptions {
  VideoScoreRequest request;
  std::string generated_offset = "first", reference_offset = "random";
  ScoreOutput output;
};

void run_fvd(const FvdOptions& options) {
  VideoScoreRequest request = options.request;
  request.generated_random = options.generated_offset == "random";
  request.reference_random = options.reference_offset == "random";
  const NewFolders statistics(request.save_stats), features(request.dump_features),
      reference_features(request.dump_reference_features);
  if (const auto scores = score_videos(request, stderr_listener(options.output.quiet)))
    print_scores(*scores, options.output.json);
  else
    print_kept_files(request);
}

void add_sampling_options(CLI::App& command, FvdOptions& options) {
  const std::string group = "Clips";
  VideoScoreRequest& request = options.request;
  const auto offsets = CLI::IsMember({"first", "random"});
  command.add_option("--frames", request.frames, "Frames per clip")
      ->type_name("N")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--stride", request.stride, "Use every Nth frame")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--clips", request.clips, "Use the first N videos of each set by name, one clip each; 0 for all")
      ->type_name("N")
      ->check(CLI::Range(0, 100000000))
      ->capture_default_str()
      ->group(group);
  command
      .add_option(option_names("", {"generated-offset"}), options.generated_offset,
                  "Where a generated video's clip begins: first or random")
      ->type_name("NAME")
      ->check(offsets)
      ->capture_default_str()
      ->group(group);
  command
      .add_option(option_names("", {"reference-offset"}), options.reference_offset,
                  "Where a reference video's clip begins: first or random")
      ->type_name("NAME")
      ->check(offsets)
      ->capture_default_str()
      ->group(group);
  command.add_option("--seed", request.metrics.seed, "Random seed for offsets and for --kvd's subsets")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  command
      .add_flag(option_names("", {"skip-short"}), request.skip_short,
                "Skip and list videos that are too short for a clip instead of failing")
      ->group(group);
}

}  // namespace

void add_fvd_command(CLI::App& root) {
  auto options = std::make_shared<FvdOptions>();
  CLI::App* command = root.add_subcommand("fvd", "Compare two sets of videos: Frechet video distance (FVD)");
  command
      ->add_option("GENERATED", options->request.generated,
                   "A video, a folder of videos or of frame folders, or a file of statistics or features (.npz, .pkl)")
      ->required()
      ->group("What to compare");
  command->add_option("REFERENCE", options->request.reference, "The same, for real videos")->group("What to compare");
  add_reading_options(*command, options->request);
  add_sampling_options(*command, *options);
  command
      ->add_option("--extractor,--weights", options->request.extractor,
                   "I3D or another network as a TorchScript file (its code is run); default: the I3D file in the cache")
      ->type_name("FILE")
      ->group("Network");
  command->add_option("--device", options->request.device, find_job_option("device").help)
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Network");
  command
      ->add_flag("--kvd", options->request.metrics.kernel_distance,
                 "Also compute the kernel video distance (cubic kernel, 100 subsets of up to 1000 clips)")
      ->group("Output");
  add_score_output_options(*command, options->request, options->output);
  put_help_last(*command, "Output");
  command->footer(
      "Follows StyleGAN-V's protocol: one clip of 16 consecutive frames from each of up to 2048 videos, at a\n"
      "random offset in reference videos and at the start of generated ones. See docs/metrics.md.\n"
      "\n"
      "Examples\n"
      "  tessera fvd out/ real_videos/\n"
      "  tessera fvd real_videos/ --save-stats real.npz\n"
      "  tessera fvd out/ real.npz --json");
  command->callback([options] {
    install_signal_handlers();
    run_fvd(*options);
  });
}

}  // namespace tessera
