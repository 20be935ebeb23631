#include "metrics/video_scores.h"

#include <algorithm>

#include "core/device.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

/// One side as it was found, before any network runs.
struct Input {
  std::string path;
  bool random_offset = false;
  std::optional<StatisticsFile> statistics;
  std::vector<VideoSource> videos;
  std::vector<ShortVideo> short_videos;
};

bool is_statistics(const std::string& path) {
  return path.ends_with(".npz");
}

void check_options(const VideoScoreRequest& request, const std::vector<const Metric*>& chosen) {
  const bool alone = request.reference.empty();
  check_request(request, is_statistics(alone ? request.generated : request.reference));
  check_sets(chosen, is_statistics(request.generated), alone || is_statistics(request.reference));
}

VideoSetOptions set_options(const VideoScoreRequest& request, const std::vector<const Metric*>& chosen,
                            bool random_offset) {
  VideoSetOptions set;
  set.rule = {request.frames, request.stride, random_offset, static_cast<uint64_t>(request.metrics.seed)};
  set.most_clips = request.clips;
  set.skip_short = request.skip_short;
  set.keep_features = any_needs_features(chosen);
  return set;
}

Input find_input(const std::string& path, const VideoSetOptions& options) {
  Input input;
  input.path = path;
  input.random_offset = options.rule.random_offset;
  if (is_statistics(path)) {
    input.statistics = read_statistics(path);
  } else {
    input.videos = find_videos(path);
    input.short_videos = drop_short_videos(input.videos, options);
  }
  return input;
}

std::map<std::string, std::string> made_by(const VideoScoreRequest& request, const ExtractorInfo& network) {
  return video_protocol({.frames = request.frames, .stride = request.stride}, network);
}

MeasuredVideos read(const Input& input, const VideoScoreRequest& request, const ExtractorInfo& network,
                    const ScoreListener& listener) {
  const StatisticsFile& file = *input.statistics;
  const auto offset = file.made_by.find("offset");
  return {set_of_statistics(input.path, file, network.dims, made_by(request, network), listener),
          offset == file.made_by.end() ? "unknown" : offset->second,
          {}};
}

MeasuredVideos measure(const Input& input, const VideoSetOptions& options, const Extractor& extractor,
                       const ScoreListener& listener) {
  Progress progress(input.path, static_cast<int64_t>(input.videos.size()), listener.progress);
  VideoFeatures found = measure_videos(input.videos, extractor, options, [&] { progress.advance(); });
  MeasuredVideos set;
  set.path = input.path;
  set.gaussian = found.gaussian;
  if (found.store) set.features = found.store->rows();
  set.offset = input.random_offset ? "random" : "first";
  set.short_videos = input.short_videos;
  set.short_videos.insert(set.short_videos.end(), found.short_videos.begin(), found.short_videos.end());
  for (const ShortVideo& video : set.short_videos)
    listener.note("left out " + video.path.string() + ": " + counted(video.frames, "frame"));
  return set;
}

void warn_of_small_set(const FeatureSet& set, const ScoreListener& listener) {
  constexpr int64_t kPublished = 2048;
  if (set.count() > 0 && set.count() < kPublished)
    listener.note(set.path + " gives " + std::to_string(set.count()) +
                  " clips; published FVD takes 2048. Fewer clips raise the score, so compare it only with scores of "
                  "equally many");
}

void save(const VideoScoreRequest& request, const MeasuredVideos& set, const ExtractorInfo& network) {
  auto made = made_by(request, network);
  made["offset"] = set.offset;
  made["seed"] = std::to_string(request.metrics.seed);
  made["source"] = set.path;
  write_statistics(request.save_stats, {set.gaussian, made});
}

}  // namespace

std::optional<VideoScores> score_videos(const VideoScoreRequest& request, const ScoreListener& listener) {
  const std::vector<const Metric*> chosen = choose_metrics(SetKind::kVideos, request.metrics);
  check_options(request, chosen);
  const at::Device device = open_device(request.device);
  const bool alone = request.reference.empty();
  std::vector<Input> inputs{find_input(
      request.generated, set_options(request, chosen, alone ? request.reference_random : request.generated_random))};
  if (!alone) inputs.push_back(find_input(request.reference, set_options(request, chosen, request.reference_random)));
  const auto extractor = open_video_extractor(request.extractor, request.frames, device);
  const ExtractorInfo& network = extractor->info();
  std::vector<MeasuredVideos> sets;
  for (const Input& input : inputs)
    sets.push_back(input.statistics
                       ? read(input, request, network, listener)
                       : measure(input, set_options(request, chosen, input.random_offset), *extractor, listener));
  if (!request.save_stats.empty()) save(request, sets.back(), network);
  if (alone) return {};
  for (const FeatureSet& set : sets) warn_of_small_set(set, listener);
  VideoScores result{
      network, request.frames, request.stride, request.metrics.seed, std::move(sets[0]), std::move(sets[1]), {}};
  const SetPair pair(result.generated, result.reference, network, request.metrics);
  for (const Metric* metric : chosen) result.scores.push_back(metric->score(pair));
  return result;
}

}  // namespace tessera
