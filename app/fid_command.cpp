#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>
#include <sstream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "app/score_report.h"
#include "core/cancel.h"
#include "core/new_folders.h"
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
  const NewFolders statistics(request.save_stats), features(request.dump_features),
      reference_features(request.dump_reference_features);
  if (const auto scores = score_images(request, stderr_listener(options.output.quiet)))
    print_scores(*scores, options.output.json);
  else
    print_kept_files(request);
}

void add_array_options(CLI::App& command, ArrayForm& arrays) {
  const std::string group = "What to compare";
  command
      .add_option(option_names("", {"array-layout"}), arrays.layout,
                  "Axis order of an array of images: nhwc, nchw, or auto, which looks for the axis with 3 channels")
      ->type_name("NAME")
      ->check(CLI::IsMember(array_layouts()))
      ->capture_default_str()
      ->group(group);
  command
      .add_option(option_names("", {"array-range"}), arrays.range,
                  "Values of black and white in an array of images that is not uint8: 0..255, 0..1 or -1..1")
      ->type_name("RANGE")
      ->check(CLI::IsMember(array_ranges()))
      ->group(group);
}

void add_network_options(CLI::App& command, ImageScoreRequest& request) {
  const std::string group = "Network";
  command
      .add_option("--protocol", request.protocol,
                  "Tool whose resizing and scaling to use: pytorch-fid, torch-fidelity or clean")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--weights", request.network.weights,
                  "FID Inception weights (.pth or .safetensors); default: the file in the cache")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--dims", request.network.dims, "Number of features to compare: 64, 192, 768 or 2048 (the standard)")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--extractor", request.network.extractor,
                  "Use another network: a TorchScript file (its code is run), a folder written by tessera train "
                  "classifier, or bundled for the one that comes with tessera; the score is then not called FID")
      ->type_name("FILE.pt")
      ->transform(extractor_path)
      ->group(group);
  command
      .add_option(option_names("", {"extractor-size"}), request.network.extractor_side,
                  "Height and width of the images that --extractor expects")
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
  command.add_option("--device", request.device, find_job_option("device").help)
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command
      .add_option(option_names("", {"batch-size"}), request.batch_size,
                  "Images per network call; 0 chooses by the number of cores")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str()
      ->group(group);
  command.add_option("--threads", request.threads, "Threads that decode images; 0 for one per core")
      ->type_name("N")
      ->check(CLI::Range(0, 256))
      ->capture_default_str()
      ->group(group);
}

void add_metric_options(CLI::App& command, FidOptions& options) {
  const std::string group = "Scores";
  MetricOptions& metrics = options.request.metrics;
  command
      .add_option(
          "--metrics", options.metrics,
          "One or more of " + joined(metric_names(SetKind::kImages)) + ", separated by commas; computed in one pass")
      ->type_name("NAMES")
      ->capture_default_str()
      ->group(group);
  command.add_option("--seed", metrics.seed, "Random seed for KID's subsets, --bootstrap and --fid-infinity")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, int64_t{0xFFFFFFFF}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--neighbors,--neighbours", metrics.neighbors, "prdc: k of the k-nearest-neighbor balls")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--bootstrap", metrics.bootstrap,
                  "95% confidence interval of FID from N bootstrap resamples of GENERATED; 0 for none")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str()
      ->group(group);
  command
      .add_flag(option_names("", {"fid-infinity"}), metrics.infinity,
                "Also extrapolate FID to infinitely many generated images")
      ->group(group);
  command
      .add_flag(option_names("", {"per-class"}), metrics.per_class,
                "Also compute FID for each pair of subfolders with the same name")
      ->group(group);
}

}  // namespace

void add_fid_command(CLI::App& root) {
  auto options = std::make_shared<FidOptions>();
  CLI::App* command =
      root.add_subcommand("fid", "Compare two sets of images: FID, KID, inception score, precision and recall");
  command
      ->add_option("GENERATED", options->request.generated,
                   "A folder (searched recursively), a batch's folder or manifest.jsonl, a video, or a file of images, "
                   "statistics or features (.npz, .npy, .pkl)")
      ->required()
      ->group("What to compare");
  command->add_option("REFERENCE", options->request.reference, "The same, for real images")->group("What to compare");
  add_reading_options(*command, options->request);
  add_array_options(*command, options->request.arrays);
  add_network_options(*command, options->request);
  add_metric_options(*command, *options);
  add_score_output_options(*command, options->request, options->output);
  put_help_last(*command, "Output");
  command->footer(
      "Scores match those of the tool named by --protocol; do not compare scores across protocols.\n"
      "As in those tools, EXIF orientation is ignored and alpha is dropped. See docs/metrics.md.\n"
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
