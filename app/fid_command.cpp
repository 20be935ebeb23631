#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>
#include <sstream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "app/score_report.h"
#include "core/cancel.h"
#include "core/text.h"
#include "metrics/image_scores.h"

namespace tessera {
namespace {

struct FidOptions {
  ImageScoreRequest request;
  std::string metrics = "fid";
  ScoreOutput output;
};

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

void run_fid(const FidOptions& options) {
  ImageScoreRequest request = options.request;
  request.metrics.names = split_at_commas(options.metrics);
  if (const auto scores = score_images(request, stderr_listener(options.output.quiet)))
    print_scores(*scores, options.output.json);
  else
    print_kept_files(request);
}

void add_array_options(CLI::App& command, ArrayForm& arrays) {
  const std::string group = "What to compare";
  command
      .add_option(option_names("", {"array-layout"}), arrays.layout,
                  "How pictures lie in an array: nhwc, nchw, or auto: whichever axis has 3 channels")
      ->type_name("NAME")
      ->check(CLI::IsMember(array_layouts()))
      ->capture_default_str()
      ->group(group);
  command
      .add_option(option_names("", {"array-range"}), arrays.range,
                  "What black and white are in an array of pictures that is not uint8: 0..255, 0..1 or -1..1")
      ->type_name("RANGE")
      ->check(CLI::IsMember(array_ranges()))
      ->group(group);
}

void add_network_options(CLI::App& command, ImageScoreRequest& request) {
  const std::string group = "Network";
  command.add_option("--protocol", request.protocol, "Whose resize and scaling: pytorch-fid, torch-fidelity or clean")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--weights", request.network.weights,
                  "The FID Inception's file (.pth or .safetensors); without it the cache")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--dims", request.network.dims, "Features to compare: 64, 192, 768 or 2048 (the standard)")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--extractor", request.network.extractor,
                  "Another network as a TorchScript file, which this runs; its score is not called FID")
      ->type_name("FILE.pt")
      ->group(group);
  command
      .add_option(option_names("", {"extractor-size"}), request.network.extractor_side,
                  "Height and width of the pictures that --extractor takes")
      ->type_name("N")
      ->check(CLI::Range(8, 2048))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--dtype", request.dtype,
                  "bf16 (fast), fp32 (exact), or auto: bf16 where the hardware has it, unless an .npz was made in fp32")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command.add_option("--device", request.device, "cpu, cuda, cuda:N, or auto")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command.add_option(option_names("", {"batch-size"}), request.batch_size, "Pictures at once; 0: by the cores")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str()
      ->group(group);
  command.add_option("--threads", request.threads, "Threads that decode pictures; 0: one a core")
      ->type_name("N")
      ->check(CLI::Range(0, 256))
      ->capture_default_str()
      ->group(group);
}

void add_metric_options(CLI::App& command, FidOptions& options) {
  const std::string group = "Scores";
  MetricOptions& metrics = options.request.metrics;
  command
      .add_option("--metrics", options.metrics,
                  "One or more of " + joined(metric_names(SetKind::kImages)) + ", with commas between; one pass")
      ->type_name("NAMES")
      ->capture_default_str()
      ->group(group);
  command.add_option("--seed", metrics.seed, "Of KID's subsets, --bootstrap and --fid-infinity")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, int64_t{0xFFFFFFFF}))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--neighbors,--neighbours", metrics.neighbors,
                  "prdc: which nearest neighbor bounds a picture's surroundings")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--bootstrap", metrics.bootstrap, "95 % interval from N resamplings of the first set")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str()
      ->group(group);
  command
      .add_flag(option_names("", {"fid-infinity"}), metrics.infinity, "Extrapolate to infinitely many generated images")
      ->group(group);
  command
      .add_flag(option_names("", {"per-class"}), metrics.per_class, "FID of each pair of sub-folders of the same name")
      ->group(group);
}

}  // namespace

void add_fid_command(CLI::App& root) {
  auto options = std::make_shared<FidOptions>();
  CLI::App* command = root.add_subcommand("fid", "Frechet inception distance and its kin, of two sets of images");
  command
      ->add_option("GENERATED", options->request.generated,
                   "A folder (with all below it), a batch's folder or manifest.jsonl, a video, or a file of pictures, "
                   "statistics or features (.npz, .npy, .pkl)")
      ->required()
      ->group("What to compare");
  command->add_option("REFERENCE", options->request.reference, "The same, of real images")->group("What to compare");
  add_reading_options(*command, options->request);
  add_array_options(*command, options->request.arrays);
  add_network_options(*command, options->request);
  add_metric_options(*command, *options);
  add_score_output_options(*command, options->request, options->output);
  put_help_last(*command, "Output");
  command->footer(
      "Numbers equal those of the tool that --protocol names, and must not be compared across protocols.\n"
      "EXIF orientation is ignored, alpha is dropped, as those tools do. See docs/metrics.md.\n"
      "\n"
      "Examples\n"
      "  tessera fid generated/ real/\n"
      "  tessera fid real/ --save-stats real.npz\n"
      "  tessera fid generated/ real/ --metrics fid,kid,is,prdc --json");
  command->callback([options] {
    install_signal_handlers();
    run_fid(*options);
  });
}

}  // namespace tessera
