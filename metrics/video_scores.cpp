#include "metrics/video_scores.h"

#include <algorithm>

#include "core/device.h"
#include "core/error.h"
#include "core/text.h"
#include "metrics/color_record.h"

namespace tessera {
namespace {

/// One side as it was found, before any network runs.
struct Input {
  std::string path;
  bool random_offset = false;
  ArrayInput arrays = {};
  CheckedVideos checked = {};

  SetContent content() const {
    if (!checked.videos.empty()) return SetContent::kSamples;
    return arrays.features ? SetContent::kFeatures : SetContent::kStatistics;
  }
};

VideoSetOptions set_options(const VideoScoreRequest& request, const std::vector<const Metric*>& chosen,
                            bool random_offset, const std::string& dump) {
  VideoSetOptions set;
  set.rule = {request.frames, request.stride, random_offset, static_cast<uint64_t>(request.metrics.seed)};
  set.most_clips = request.clips;
  set.skip_short = request.skip_short;
  set.skip_unreadable = request.skip_unreadable;
  set.matrix = request.matrix;
  set.keep_features = any_needs_features(chosen) || !dump.empty();
  return set;
}

Input find_input(const std::string& path, const VideoSetOptions& options, const StatisticsChoice& choice,
                 const ScoreListener& listener) {
  Input input{.path = path, .random_offset = options.rule.random_offset};
  if (is_array_file(path)) {
    const ArrayFile held = look_into(path);
    if (!held.pictures.empty() && !held.statistics)
      throw Error(path + ": its array \"" + held.pictures + "\" holds pictures; want videos, statistics or features");
    input.arrays = read_arrays(path, held, choice, CovarianceDivisor::kCount);
  } else {
    const std::vector<VideoSource> found = find_videos(path, listener.on_note);
    const auto total = static_cast<int64_t>(found.size());
    Progress progress("checking " + path, options.most_clips > 0 ? std::min(total, options.most_clips) : total,
                      listener.progress);
    input.checked = check_videos(found, options, [&] { progress.advance(); });
  }
  return input;
}

/// Throws Error with what is wrong with either set, so that one round mends both.
void refuse_problems(const std::vector<Input>& inputs) {
  std::string problems;
  for (const Input& input : inputs)
    if (!input.checked.problem.empty())
      problems += (problems.empty() ? "" : "\n") + input.path + ": " + input.checked.problem;
  if (!problems.empty()) throw Error(problems);
}

MadeBy made_by(const VideoScoreRequest& request, const ExtractorInfo& network) {
  return video_protocol({.frames = request.frames, .stride = request.stride}, network);
}

MeasuredVideos read(const Input& input, const VideoScoreRequest& request, const ScoreListener& listener) {
  MeasuredVideos set;
  set.path = input.path;
  add_features(set, input.arrays);
  add_statistics(set, input.arrays);
  set.offset = "unknown";
  for (const MadeBy& record : records_of(input.arrays))
    if (const auto offset = record.find("offset"); offset != record.end()) set.offset = offset->second;
  set.video_words = recorded_colors(request.matrix, input.path, input.arrays, listener);
  return set;
}

/// What files of a set of clips say of themselves.
MadeBy record_of(const MeasuredVideos& set, const VideoScoreRequest& request, const ExtractorInfo& network) {
  MadeBy made = made_by(request, network);
  made["offset"] = set.offset;
  made["seed"] = std::to_string(request.metrics.seed);
  made["source"] = set.path;
  record_colors(request.matrix, set.video_words, made);
  return made;
}

MeasuredVideos measure(const Input& input, const VideoScoreRequest& request, const VideoSetOptions& options,
                       const Extractor& extractor, const std::string& dump, const ScoreListener& listener) {
  const CheckedVideos& checked = input.checked;
  Progress progress(input.path, static_cast<int64_t>(checked.videos.size()), listener.progress);
  VideoFeatures found = measure_videos(checked.videos, extractor, options, [&] { progress.advance(); });
  MeasuredVideos set;
  set.path = input.path;
  set.gaussian = found.gaussian;
  set.samples = found.clips;
  set.gaussian_from = "clips";
  if (found.store) {
    set.features = found.store->rows();
    set.features_from = set.gaussian_from;
  }
  set.offset = input.random_offset ? "random" : "first";
  set.short_videos = checked.short_videos;
  set.unreadable = checked.unreadable;
  set.video_words = found.tally.words();
  set.tally = std::move(found.tally);
  for (const ShortVideo& video : set.short_videos)
    listener.note("left out " + video.path.string() + ": " + counted(video.frames, "frame"));
  for (const UnreadableFile& file : set.unreadable) listener.note("left out: " + file.reason);
  for (const std::string& warning : set.tally.warnings()) listener.note(warning);
  if (!dump.empty()) write_features(dump, set.features, found.names, record_of(set, request, extractor.info()));
  return set;
}

void warn_of_small_set(const FeatureSet& set, const ScoreListener& listener) {
  constexpr int64_t kPublished = 2048;
  if (set.count() > 0 && set.count() < kPublished)
    listener.note(set.path + " gives " + std::to_string(set.count()) +
                  " clips; published FVD takes 2048. Fewer clips raise the score, so compare it only with scores of "
                  "equally many");
}

void save(const VideoScoreRequest& request, const MeasuredVideos& set, const Input& input,
          const ExtractorInfo& network) {
  const auto& features = input.arrays.features;
  write_statistics(request.save_stats, {set.gaussian, features ? features->made_by : record_of(set, request, network)});
}

}  // namespace

std::optional<VideoScores> score_videos(const VideoScoreRequest& request, const ScoreListener& listener) {
  const std::vector<const Metric*> chosen = choose_metrics(SetKind::kVideos, request.metrics);
  check_request(request);
  const at::Device device = open_device(request.device);
  const bool alone = request.reference.empty();
  const std::vector<std::string> dumps{request.dump_features, request.dump_reference_features};
  const auto options_of = [&](size_t side, bool random_offset) {
    return set_options(request, chosen, random_offset, dumps[side]);
  };
  const bool first_random = alone ? request.reference_random : request.generated_random;
  const StatisticsChoice choice{request.stats_key, ""};
  std::vector<Input> inputs{find_input(request.generated, options_of(0, first_random), choice, listener)};
  if (!alone)
    inputs.push_back(find_input(request.reference, options_of(1, request.reference_random), choice, listener));
  refuse_problems(inputs);
  check_kept(request, inputs.front().content(), inputs.back().content());
  check_sets(chosen, inputs.front().content(), alone ? SetContent::kStatistics : inputs.back().content());
  const auto extractor = open_video_extractor(request.extractor, request.frames, device);
  const ExtractorInfo& network = extractor->info();
  for (const Input& input : inputs)
    check_arrays(input.path, input.arrays, network.dims, made_by(request, network), listener);
  std::vector<MeasuredVideos> sets;
  for (size_t i = 0; i < inputs.size(); ++i)
    sets.push_back(
        inputs[i].checked.videos.empty()
            ? read(inputs[i], request, listener)
            : measure(inputs[i], request, options_of(i, inputs[i].random_offset), *extractor, dumps[i], listener));
  if (!request.save_stats.empty()) save(request, sets.back(), inputs.back(), network);
  if (alone) return {};
  for (const FeatureSet& set : sets) warn_of_small_set(set, listener);
  VideoScores result{
      network, request.frames, request.stride, request.metrics.seed, std::move(sets[0]), std::move(sets[1]), {}};
  const SetPair pair(result.generated, result.reference, network, request.metrics);
  for (const Metric* metric : chosen) result.scores.push_back(metric->score(pair));
  return result;
}

}  // namespace tessera
