#include <ATen/Parallel.h>

#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>
#include <iostream>
#include <thread>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/fid_report.h"
#include "app/help.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "core/progress.h"
#include "core/sha256.h"
#include "metrics/inception_extractor.h"
#include "metrics/statistics_file.h"
#include "metrics/torchscript_extractor.h"

namespace tessera {
namespace {

void note(const std::string& text) {
  std::cerr << "tessera: " << text << std::endl;
}

bool is_statistics(const std::string& path) {
  return path.ends_with(".npz") && !is_picture_array(path);
}

/// What statistics of pictures say of themselves (see StatisticsFile).
std::map<std::string, std::string> made_by(const Protocol& protocol, const ExtractorInfo& info) {
  return {{"protocol", protocol.name}, {"extractor", info.name}, {"weights", info.sha256}, {"dtype", info.dtype}};
}

/// Fast where the hardware is and both sides are measured with it: rounding then meets rounding. Statistics of
/// another program are float32.
at::ScalarType choose_fid_dtype(const FidOptions& options, at::Device device) {
  if (options.dtype != "auto") return choose_dtype(options.dtype, device, at::kBFloat16, 0);
  for (const std::string& path : {options.generated, options.reference}) {
    if (!is_statistics(path)) continue;
    const auto made = read_statistics(path).made_by;
    if (!made.contains("dtype") || made.at("dtype") != "bfloat16") return at::kFloat;
  }
  return has_fast_bfloat16(device) ? at::kBFloat16 : at::kFloat;
}

std::unique_ptr<Extractor> open_extractor(const FidOptions& options, const Protocol& protocol, at::Device device) {
  if (options.extractor.empty()) {
    const FoundWeights file = find_inception_weights(options.weights);
    auto extractor = std::make_unique<InceptionExtractor>(read_inception_weights(file.path), file.sha256, protocol,
                                                          options.dims, choose_fid_dtype(options, device), device);
    if (!file.published)
      note(file.path.string() +
           " is not the published file (its SHA-256 differs); scores are comparable only with "
           "scores by the same file");
    return extractor;
  }
  if (options.extractor == "bundled")
    throw Error(
        "--extractor bundled: this build has no bundled feature network; give a TorchScript file, or leave "
        "--extractor out for the FID Inception");
  Sha256 hash;
  hash.update_file(options.extractor);
  return std::make_unique<TorchScriptExtractor>(
      options.extractor, hash.hex(), "", std::vector<int64_t>{1, 3, options.extractor_size, options.extractor_size},
      device);
}

FidSide read_side(const std::string& path, const Protocol& protocol, const ExtractorInfo& info) {
  const StatisticsFile file = read_statistics(path);
  if (!check_comparable(file, path, info.dims, made_by(protocol, info)))
    note(path + " does not say how it was made; the score holds only if it was this network and protocol");
  return {path, file.gaussian, {}, 0};
}

FidSide measure_side(const std::string& path, const std::vector<ImageSource>& sources, const FidOptions& options,
                     const Protocol& protocol, const Extractor& extractor) {
  const std::set<std::string> metrics = options.metric_set();
  ImageSetOptions set;
  set.side = options.extractor.empty() ? kInceptionSide : options.extractor_size;
  set.threads =
      options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  set.batch = options.batch_size > 0 ? options.batch_size : std::clamp(32 * at::get_num_threads(), 64, 512);
  set.skip_unreadable = options.skip_unreadable;
  set.keep_features = metrics.contains("kid") || metrics.contains("prdc") || options.bootstrap > 0 ||
                      options.infinity || options.per_class;
  set.keep_logits = metrics.contains("is");
  Progress progress(path, static_cast<int64_t>(sources.size()), stderr_progress_style(options.quiet));
  FidSide side{path,
               {},
               measure_images(sources, extractor, protocol, set,
                              [&](int64_t files) {
                                progress.advance(files);
                                throw_if_canceled();
                              }),
               0};
  for (const ImageSource& source : sources) side.videos += source.is_video;
  for (const UnreadableImage& file : side.images->unreadable) note("left out: " + file.reason);
  if (side.images->all.count() < 2)
    throw Error(path + " has one picture; a covariance needs at least two, and a meaningful FID thousands");
  side.gaussian = side.images->all.gaussian(CovarianceDivisor::kCountMinusOne);
  side.gaussian.count = side.images->all.count();
  return side;
}

void warn_of_small_sets(const std::vector<const FidSide*>& sides, int64_t dims) {
  for (const FidSide* side : sides) {
    const std::string many = side->path + " has " + std::to_string(side->count()) + " images; ";
    if (side->count() == 0) continue;
    if (side->count() < 2048)
      note(many +
           (side->count() <= dims ? "fewer than features, so its covariance is singular and FID far too high"
                                  : "FID is biased upwards by small sets") +
           ": compare only with scores of as many images, or see --metrics kid, which has no such bias");
    else if (side->count() < 10000)
      note(many + "below 10,000 the bias of FID still shows; published scores take 10,000 or 50,000");
  }
}

void check_options(const FidOptions& options) {
  const std::set<std::string> metrics = options.metric_set();
  check_score_options(options, is_statistics(options.reference.empty() ? options.generated : options.reference));
  const bool statistics = is_statistics(options.generated) || is_statistics(options.reference);
  if (statistics && (metrics.contains("kid") || metrics.contains("prdc") || options.per_class))
    throw Error("kid, prdc and --per-class compare single pictures, so they need pictures on both sides, not .npz");
  if (is_statistics(options.generated) && (metrics.contains("is") || options.bootstrap > 0 || options.infinity))
    throw Error("is, --bootstrap and --fid-infinity look at single pictures of the first set; it must not be an .npz");
  if (metrics.contains("is") && (options.dims != 2048 || !options.extractor.empty()))
    throw Error("is needs the FID Inception's classes: --dims 2048 and no --extractor");
  if (!metrics.contains("fid") && (options.bootstrap > 0 || options.infinity))
    throw Error("--bootstrap and --fid-infinity are about fid, which --metrics leaves out");
  if (!options.extractor.empty() && !options.weights.empty())
    throw Error("--weights is the Inception's file; it cannot go together with --extractor");
  if (options.bootstrap == 1) throw Error("--bootstrap wants at least 2 resamplings");
}

void run_fid(const FidOptions& options) {
  check_options(options);
  const Protocol& protocol = find_protocol(options.protocol);
  const at::Device device = open_device(options.device);
  const bool alone = options.reference.empty();
  std::vector<std::string> paths{options.generated};
  if (!alone) paths.push_back(options.reference);
  std::vector<std::vector<ImageSource>> sources;
  for (const std::string& path : paths) {  // whatever is wrong with the paths shows before the network runs
    if (is_statistics(path)) read_statistics(path);
    sources.push_back(is_statistics(path) ? std::vector<ImageSource>() : find_images(path));
  }
  const std::unique_ptr<Extractor> extractor = open_extractor(options, protocol, device);
  std::vector<FidSide> sides;
  for (size_t i = 0; i < paths.size(); ++i)
    sides.push_back(is_statistics(paths[i]) ? read_side(paths[i], protocol, extractor->info())
                                            : measure_side(paths[i], sources[i], options, protocol, *extractor));
  if (!options.save_stats.empty()) {
    auto made = made_by(protocol, extractor->info());
    made["resize"] = protocol.resize_words;
    made["source"] = sides.back().path;
    write_statistics(options.save_stats, {sides.back().gaussian, made});
  }
  if (alone) {
    std::cout << options.save_stats << std::endl;
    return;
  }
  warn_of_small_sets({&sides[0], &sides[1]}, extractor->info().dims);
  const FidScores scores = score_sets(options, sides[0], sides[1]);
  if (options.json)
    std::cout << fid_json(options, protocol, extractor->info(), sides[0], sides[1], scores).dump(2) << std::endl;
  else
    std::cout << fid_text(options, protocol, extractor->info(), sides[0], sides[1], scores) << std::flush;
}

void add_network_options(CLI::App& command, FidOptions& options) {
  const std::string group = "Network";
  command.add_option("--protocol", options.protocol, "Whose resize and scaling: pytorch-fid, torch-fidelity or clean")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--weights", options.weights, "The FID Inception's file (.pth or .safetensors); without it the cache")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--dims", options.dims, "Features to compare: 64, 192, 768 or 2048 (the standard)")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--extractor", options.extractor,
                  "Another network as a TorchScript file, which this runs; its score is not called FID")
      ->type_name("FILE.pt")
      ->group(group);
  command
      .add_option(option_names("", {"extractor-size"}), options.extractor_size,
                  "Height and width of the pictures that --extractor takes")
      ->type_name("N")
      ->check(CLI::Range(8, 2048))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--dtype", options.dtype,
                  "bf16 (fast), fp32 (exact), or auto: bf16 where the hardware has it, unless an .npz was made in fp32")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command.add_option("--device", options.device, "cpu, cuda, cuda:N, or auto")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  command.add_option(option_names("", {"batch-size"}), options.batch_size, "Pictures at once; 0: by the cores")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str()
      ->group(group);
  command.add_option("--threads", options.threads, "Threads that decode pictures; 0: one a core")
      ->type_name("N")
      ->check(CLI::Range(0, 256))
      ->capture_default_str()
      ->group(group);
}

void add_score_options(CLI::App& command, FidOptions& options) {
  const std::string group = "Scores";
  command.add_option("--metrics", options.metrics, "One or more of fid, kid, is, prdc, with commas between; one pass")
      ->type_name("NAMES")
      ->capture_default_str()
      ->group(group);
  command.add_option("--seed", options.seed, "Of KID's subsets, --bootstrap and --fid-infinity")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, int64_t{0xFFFFFFFF}))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--neighbors,--neighbours", options.neighbors,
                  "prdc: which nearest neighbor bounds a picture's surroundings")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--bootstrap", options.bootstrap, "95 % interval from N resamplings of the first set")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str()
      ->group(group);
  command
      .add_flag(option_names("", {"fid-infinity"}), options.infinity, "Extrapolate to infinitely many generated images")
      ->group(group);
  command
      .add_flag(option_names("", {"per-class"}), options.per_class, "FID of each pair of sub-folders of the same name")
      ->group(group);
}

}  // namespace

void add_fid_command(CLI::App& root) {
  auto options = std::make_shared<FidOptions>();
  CLI::App* command = root.add_subcommand("fid", "Frechet inception distance and its kin, of two sets of images");
  command
      ->add_option("GENERATED", options->generated,
                   "A folder (with all below it), a batch's folder or manifest.jsonl, a video, statistics (.npz), or "
                   "ADM's samples (.npz)")
      ->required()
      ->group("What to compare");
  command->add_option("REFERENCE", options->reference, "The same, of real images")->group("What to compare");
  command
      ->add_flag(option_names("", {"skip-unreadable"}), options->skip_unreadable,
                 "Leave out files that cannot be read, and list them, instead of failing")
      ->group("What to compare");
  add_network_options(*command, *options);
  add_score_options(*command, *options);
  add_score_output_options(*command, *options);
  put_help_last(*command, "Output");
  command->footer(
      "Numbers equal those of the tool that --protocol names, and must not be compared across protocols.\n"
      "Orientation tags are ignored, alpha is dropped, as those tools do. See docs/metrics.md.\n"
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
