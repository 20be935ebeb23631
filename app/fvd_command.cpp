#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "app/score_report.h"
#include "core/cancel.h"
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
  if (const auto scores = score_videos(request, stderr_listener(options.output.quiet)))
    print_scores(*scores, options.output.json);
  else
    print_kept_files(request);
}

void add_sampling_options(CLI::App& command, FvdOptions& options) {
  const std::string group = "Clips";
  VideoScoreRequest& request = options.request;
  const auto offsets = CLI::IsMember({"first", "random"});
  command.add_option("--frames", request.frames, "Frames of a clip")
      ->type_name("N")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--stride", request.stride, "Take one of N frames")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--clips", request.clips, "Videos of each set, one clip each, the first by name; 0: all")
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
  command.add_option("--seed", request.metrics.seed, "Of random offsets and of --kvd's subsets")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  command
      .add_flag(option_names("", {"skip-short"}), request.skip_short,
                "Leave out videos that are too short for a clip, and list them")
      ->group(group);
}

}  // namespace

void add_fvd_command(CLI::App& root) {
  auto options = std::make_shared<FvdOptions>();
  CLI::App* command = root.add_subcommand("fvd", "Frechet video distance of two sets of videos");
  command
      ->add_option("GENERATED", options->request.generated,
                   "A video, a folder of videos or of frame folders, or a file of statistics or features (.npz, .pkl)")
      ->required()
      ->group("What to compare");
  command->add_option("REFERENCE", options->request.reference, "The same, of real videos")->group("What to compare");
  add_reading_options(*command, options->request);
  add_sampling_options(*command, *options);
  command
      ->add_option("--extractor,--weights", options->request.extractor,
                   "The I3D TorchScript file, or another program, which this runs; without it I3D from the cache")
      ->type_name("FILE")
      ->group("Network");
  command->add_option("--device", options->request.device, "cpu, cuda, cuda:N, or auto")
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Network");
  command
      ->add_flag("--kvd", options->request.metrics.kernel_distance,
                 "The kernel distance too (cubic kernel, 100 subsets of up to 1000 clips)")
      ->group("Output");
  add_score_output_options(*command, options->request, options->output);
  put_help_last(*command, "Output");
  command->footer(
      "By StyleGAN-V's protocol: one clip of 16 consecutive frames of each of up to 2048 videos, from a random\n"
      "place of reference videos and from the start of generated ones. See docs/metrics.md.\n"
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
