#include <CLI/Error.hpp>
#include <CLI/Validators.hpp>
#include <cstdio>
#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/device.h"
#include "core/progress.h"
#include "metrics/frechet.h"
#include "metrics/fvd.h"
#include "metrics/kid.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

struct FvdOptions : ScoreOptions {
  std::string extractor, device = "auto";
  std::string generated_offset = "first", reference_offset = "random";
  int64_t frames = 16, stride = 1, clips = 2048, seed = 0;
  bool kvd = false, skip_short = false;
};

/// One of the two sets, measured or read.
struct Side {
  std::string path;
  VideoFeatures features;
  bool from_file = false;
  std::string offset;
};

void note(const std::string& text) {
  std::cerr << "tessera: " << text << std::endl;
}

bool is_statistics(const std::string& path) {
  return path.ends_with(".npz");
}

VideoSetOptions set_options(const FvdOptions& options, const std::string& offset) {
  VideoSetOptions set;
  set.rule = {options.frames, options.stride, offset == "random", static_cast<uint64_t>(options.seed)};
  set.most_clips = options.clips;
  set.skip_short = options.skip_short;
  set.keep_features = options.kvd;
  return set;
}

Side read_side(const std::string& path, const Extractor* extractor, const FvdOptions& options) {
  const StatisticsFile file = read_statistics(path);
  if (extractor) {
    const ClipRule rule{options.frames, options.stride, false, 0};
    if (!check_comparable(file, path, extractor->info().dims, video_protocol(rule, extractor->info())))
      note(path + " does not say how it was made; the score holds only if it was this network and protocol");
  }
  Side side{path, {}, true, file.made_by.contains("offset") ? file.made_by.at("offset") : "unknown"};
  side.features.gaussian = file.gaussian;
  side.features.clips = file.gaussian.count.value_or(0);
  return side;
}

Side measure_side(const std::string& path, std::vector<VideoSource> videos, std::vector<ShortVideo> left_out,
                  const Extractor& extractor, const FvdOptions& options, const std::string& offset) {
  Progress progress(path, static_cast<int64_t>(videos.size()), stderr_progress_style(options.quiet));
  Side side{path, measure_videos(videos, extractor, set_options(options, offset), [&] { progress.advance(); }), false,
            offset};
  auto& all = side.features.short_videos;
  all.insert(all.begin(), left_out.begin(), left_out.end());
  for (const ShortVideo& video : all)
    note("left out " + video.path.string() + ": " + std::to_string(video.frames) + " frames");
  return side;
}

Json side_json(const Side& side) {
  Json left_out = Json::array();
  for (const ShortVideo& video : side.features.short_videos)
    left_out.push_back({{"path", video.path.string()}, {"frames", video.frames}});
  return {{"path", side.path},
          {"clips", side.features.clips > 0 ? Json(side.features.clips) : Json()},
          {"offset", side.offset},
          {"statistics_file", side.from_file},
          {"short_videos", left_out}};
}

std::string number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

void warn_of_small_sets(const std::vector<const Side*>& sides) {
  constexpr int64_t kPublished = 2048;
  for (const Side* side : sides)
    if (side->features.clips > 0 && side->features.clips < kPublished)
      note(side->path + " gives " + std::to_string(side->features.clips) +
           " clips; published FVD takes 2048, and fewer raise it, so compare only with scores of as many");
}

/// The protocol in one line, for people.
std::string protocol_line(const FvdOptions& options, const ExtractorInfo& info) {
  return "StyleGAN-V protocol: clips of " + std::to_string(options.frames) + " frames, stride " +
         std::to_string(options.stride) + ", covariance over N, " + info.name + " in " + info.dtype + ", SHA-256 " +
         info.sha256.substr(0, 12);
}

void report(const FvdOptions& options, const ExtractorInfo& info, const Side& generated, const Side& reference) {
  const double score = frechet_distance(frechet_side(generated.features.gaussian, generated.path),
                                        frechet_side(reference.features.gaussian, reference.path));
  const std::string metric = info.is_standard ? "FVD" : "Frechet distance (not FVD: the network is not its I3D)";
  std::optional<ScoreSpread> kvd;
  const int64_t smaller = std::min(generated.features.clips, reference.features.clips);
  const int64_t subset = std::min<int64_t>(smaller, KidOptions{}.subset_size);
  if (options.kvd) {
    if (subset < 2) throw Error("--kvd needs 2 clips on both sides");
    kvd = kernel_distance(generated.features.store->rows(), reference.features.store->rows(),
                          {100, subset, static_cast<uint32_t>(options.seed)});
  }
  if (!options.json) {
    std::cout << metric << " " << number(score) << "\n";
    if (kvd)
      std::cout << "KVD " << number(kvd->mean) << " +- " << number(kvd->deviation) << " (100 subsets of " << subset
                << ")\n";
    for (const Side* side : {&generated, &reference})
      std::cout << (side == &generated ? "generated  " : "reference  ") << side->path << ", "
                << (side->features.clips > 0 ? std::to_string(side->features.clips) : "unknown number of")
                << " clips, offset " << side->offset << "\n";
    std::cout << protocol_line(options, info) << std::endl;
    return;
  }
  Json out{{"metric", info.is_standard ? "fvd" : "frechet_distance"},
           {"score", score},
           {"is_fvd", info.is_standard},
           {"protocol", "stylegan-v fvd"},
           {"frames", options.frames},
           {"stride", options.stride},
           {"seed", options.seed},
           {"covariance", "over N"},
           {"generated", side_json(generated)},
           {"reference", side_json(reference)},
           {"extractor", {{"name", info.name}, {"sha256", info.sha256}, {"dtype", info.dtype}, {"dims", info.dims}}}};
  if (kvd) out["kvd"] = {{"mean", kvd->mean}, {"std", kvd->deviation}, {"subsets", 100}, {"subset_size", subset}};
  std::cout << out.dump(2) << std::endl;
}

void save_side(const FvdOptions& options, const Side& side, const ExtractorInfo& info) {
  auto made_by = video_protocol({options.frames, options.stride, false, 0}, info);
  made_by["offset"] = side.offset;
  made_by["seed"] = std::to_string(options.seed);
  made_by["source"] = side.path;
  write_statistics(options.save_stats, {side.features.gaussian, made_by});
}

void check_options(const FvdOptions& options) {
  check_score_options(options, is_statistics(options.reference.empty() ? options.generated : options.reference));
  if (options.kvd &&
      (options.reference.empty() || is_statistics(options.generated) || is_statistics(options.reference)))
    throw Error("--kvd compares single clips, so it needs videos on both sides, not statistics");
  if (options.seed < 0 || options.seed > 0xFFFFFFFFll)
    throw Error("--seed wants a whole number from 0 to 4294967295, got " + std::to_string(options.seed));
}

void run_fvd(const FvdOptions& options) {
  check_options(options);
  const at::Device device = open_device(options.device);
  struct Pending {
    std::string path, offset;
    std::vector<VideoSource> videos;
    std::vector<ShortVideo> left_out;
  };
  const bool alone = options.reference.empty();
  std::vector<Pending> pending{
      {options.generated, alone ? options.reference_offset : options.generated_offset, {}, {}}};
  if (!alone) pending.push_back({options.reference, options.reference_offset, {}, {}});
  for (Pending& side : pending) {  // whatever is wrong with the files shows before the network runs
    if (is_statistics(side.path)) {
      read_statistics(side.path);
      continue;
    }
    side.videos = find_videos(side.path);
    side.left_out = drop_short_videos(side.videos, set_options(options, side.offset));
  }
  const auto extractor = open_video_extractor(options.extractor, options.frames, device);
  std::vector<Side> sides;
  for (Pending& side : pending)
    sides.push_back(is_statistics(side.path) ? read_side(side.path, extractor.get(), options)
                                             : measure_side(side.path, std::move(side.videos), std::move(side.left_out),
                                                            *extractor, options, side.offset));
  if (!options.save_stats.empty()) save_side(options, sides.back(), extractor->info());
  if (alone) {
    std::cout << options.save_stats << std::endl;
    return;
  }
  warn_of_small_sets({&sides[0], &sides[1]});
  report(options, extractor->info(), sides[0], sides[1]);
}

void add_sampling_options(CLI::App& command, FvdOptions& options) {
  const std::string group = "Clips";
  const auto offsets = CLI::IsMember({"first", "random"});
  command.add_option("--frames", options.frames, "Frames of a clip")
      ->type_name("N")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--stride", options.stride, "Take one of N frames")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--clips", options.clips, "Videos of each set, one clip each, the first by name; 0: all")
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
  command.add_option("--seed", options.seed, "Of random offsets and of --kvd's subsets")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  command
      .add_flag(option_names("", {"skip-short"}), options.skip_short,
                "Leave out videos that are too short for a clip, and list them")
      ->group(group);
}

}  // namespace

void add_fvd_command(CLI::App& root) {
  auto options = std::make_shared<FvdOptions>();
  CLI::App* command = root.add_subcommand("fvd", "Frechet video distance of two sets of videos");
  command->add_option("GENERATED", options->generated, "A video, a folder of videos or of frame folders, or an .npz")
      ->required()
      ->group("What to compare");
  command->add_option("REFERENCE", options->reference, "The same, of real videos")->group("What to compare");
  add_sampling_options(*command, *options);
  command
      ->add_option("--extractor,--weights", options->extractor,
                   "The I3D TorchScript file, or another program, which this runs; without it I3D from the cache")
      ->type_name("FILE")
      ->group("Network");
  command->add_option("--device", options->device, "cpu, cuda, cuda:N, or auto")
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Network");
  command->add_flag("--kvd", options->kvd, "The kernel distance too (cubic kernel, 100 subsets of up to 1000 clips)")
      ->group("Output");
  add_score_output_options(*command, *options);
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
