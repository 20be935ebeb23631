#include "app/score_report.h"

#include <iostream>

#include "app/command_line.h"
#include "core/text.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

Json network_json(const ExtractorInfo& network) {
  Json out{{"name", network.name}, {"sha256", network.sha256}, {"dtype", network.dtype}, {"dims", network.dims}};
  if (network.side > 0) out["size"] = network.side;
  return out;
}

/// `name`: the network's, with what else is worth saying of it.
std::string network_text(const std::string& name, const ExtractorInfo& network) {
  return name + " in " + network.dtype + ", SHA-256 " + network.sha256.substr(0, 12);
}

Json count_json(const FeatureSet& set) {
  return set.count() > 0 ? Json(set.count()) : Json();
}

std::string count_text(const FeatureSet& set, const std::string& noun) {
  return set.count() > 0 ? counted(set.count(), noun) : "an unknown number of " + noun + "s";
}

/// Where the Frechet distance and the other scores get their numbers of a set.
void add_sources(Json& out, const FeatureSet& set) {
  out["statistics_from"] = set.gaussian_from;
  out["features_from"] = set.features_from.empty() ? Json() : Json(set.features_from);
}

/// The same in words, for sets that are not simply pictures or clips.
std::string sources_text(const FeatureSet& set) {
  if (set.is_statistics)
    return " (statistics: " + set.gaussian_from +
           (set.features_from.empty() ? "" : "; other scores: " + set.features_from) + ")";
  return set.gaussian_from == "pictures" || set.gaussian_from == "clips" ? "" : " (" + set.gaussian_from + ")";
}

std::string text_of(const std::vector<MetricScore>& scores) {
  return joined(scores, "", [](const MetricScore& score) { return score.text; });
}

Json unreadable_json(const std::vector<UnreadableFile>& files) {
  Json list = Json::array();
  for (const UnreadableFile& file : files) list.push_back({{"path", file.path.string()}, {"reason", file.reason}});
  return list;
}

/// `words`: of the same, or what statistics say of the videos that they were made of.
Json colors_json(const VideoTally& tally, const std::string& words) {
  if (words.empty()) return nullptr;
  Json read_as = Json::array();
  for (const auto& [colors, count] : tally.videos_of)
    read_as.push_back(
        {{"matrix", colors.matrix}, {"range", colors.range}, {"source", colors.source}, {"videos", count}});
  return {{"words", words},
          {"read_as", read_as},
          {"hdr", tally.hdr},
          {"turned_upright", tally.turned},
          {"other_angle", tally.other_angle}};
}

std::string left_out_text(size_t count, const std::string& noun) {
  return count == 0 ? "" : ", " + counted(static_cast<int64_t>(count), noun) + " unreadable";
}

/// The end of a set's line.
std::string colors_text(const std::string& words) {
  return words.empty() ? "\n" : "; " + words + "\n";
}

Json set_json(const MeasuredImages& set) {
  Json out{{"path", set.path},
           {"images", count_json(set)},
           {"statistics_file", set.is_statistics},
           {"videos", set.videos},
           {"video_colors", colors_json(set.tally, set.video_words)},
           {"unreadable", unreadable_json(set.unreadable)}};
  add_sources(out, set);
  if (set.seconds) out["images_per_second"] = *set.seconds > 0 ? static_cast<double>(set.samples) / *set.seconds : 0;
  return out;
}

Json set_json(const MeasuredVideos& set) {
  Json left_out = Json::array();
  for (const ShortVideo& video : set.short_videos)
    left_out.push_back({{"path", video.path.string()}, {"frames", video.frames}});
  Json out{{"path", set.path},
           {"clips", count_json(set)},
           {"offset", set.offset},
           {"statistics_file", set.is_statistics},
           {"short_videos", left_out},
           {"video_colors", colors_json(set.tally, set.video_words)},
           {"unreadable", unreadable_json(set.unreadable)}};
  add_sources(out, set);
  return out;
}

std::string set_text(const MeasuredImages& set) {
  return set.path + ", " + count_text(set, "image") + left_out_text(set.unreadable.size(), "file") + sources_text(set) +
         colors_text(set.video_words);
}

std::string set_text(const MeasuredVideos& set) {
  return set.path + ", " + count_text(set, "clip") + ", offset " + set.offset +
         left_out_text(set.unreadable.size(), "video") + sources_text(set) + colors_text(set.video_words);
}

Json to_json(const ImageScores& scores) {
  Json out{{"protocol", scores.protocol->name},
           {"resize", scores.protocol->resize_words(scores.network.side)},
           {"exif_orientation", "ignored"},
           {"is_fid", scores.network.is_standard && scores.network.dims == 2048},
           {"extractor", network_json(scores.network)},
           {"covariance", "over N - 1"},
           {"seed", scores.seed},
           {"generated", set_json(scores.generated)},
           {"reference", set_json(scores.reference)}};
  for (const MetricScore& score : scores.scores) out[score.key] = score.json;
  return out;
}

std::string to_text(const ImageScores& scores) {
  const ExtractorInfo& network = scores.network;
  return text_of(scores.scores) + "generated  " + set_text(scores.generated) + "reference  " +
         set_text(scores.reference) + scores.protocol->name +
         " protocol: " + scores.protocol->resize_words(scores.network.side) + "; " +
         network_text(network.name + ", " + counted(network.dims, "feature"), network) + "\n";
}

Json to_json(const VideoScores& scores) {
  Json out{{"metric", scores.network.is_standard ? "fvd" : "frechet_distance"}};
  out[scores.scores.front().key] = scores.scores.front().json;
  out.update({{"is_fvd", scores.network.is_standard},
              {"protocol", "stylegan-v fvd"},
              {"frames", scores.frames},
              {"stride", scores.stride},
              {"seed", scores.seed},
              {"covariance", "over N"},
              {"generated", set_json(scores.generated)},
              {"reference", set_json(scores.reference)},
              {"extractor", network_json(scores.network)}});
  for (const MetricScore& score : scores.scores) out[score.key] = score.json;
  return out;
}

std::string to_text(const VideoScores& scores) {
  return text_of(scores.scores) + "generated  " + set_text(scores.generated) + "reference  " +
         set_text(scores.reference) + "StyleGAN-V protocol: clips of " + counted(scores.frames, "frame") + ", stride " +
         std::to_string(scores.stride) + ", covariance over N, " + network_text(scores.network.name, scores.network) +
         "\n";
}

template <class Scores>
void print(const Scores& scores, bool json) {
  if (json)
    std::cout << to_json(scores).dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
  else
    std::cout << to_text(scores) << std::flush;
}

}  // namespace

ScoreListener stderr_listener(bool quiet) {
  return {.progress = stderr_progress_style(quiet), .on_note = note_listener(quiet)};
}

void print_scores(const ImageScores& scores, bool json) {
  print(scores, json);
}

void print_scores(const VideoScores& scores, bool json) {
  print(scores, json);
}

void print_kept_files(const ScoreRequest& request) {
  for (const std::string& file : request.kept_files()) std::cout << file << std::endl;
}

void print_score(const LiveFidScore& score, bool json, bool quiet) {
  constexpr int64_t kEnough = 2048;  // features of the Inception, and so the least that give a full covariance
  const ExtractorInfo& network = score.network;
  if (score.pictures < kEnough)
    note_listener(quiet)(
        std::to_string(score.pictures) + " images are few for FID: below " + std::to_string(kEnough) +
        " the score is far too high and depends on their number; compare it only with scores of equally many images");
  if (json) {
    const Json fid{{"score", score.distance},
                   {"is_fid", network.is_standard},
                   {"pictures", score.pictures},
                   {"protocol", score.protocol->name},
                   {"resize", score.protocol->resize_words(network.side)},
                   {"reference", score.reference},
                   {"pixels", "as rendered, before any video codec"},
                   {"extractor", network_json(network)}};
    std::cout << json_text(Json{{"fid", fid}}) << std::endl;
    return;
  }
  print_note((network.is_standard ? "FID " : "Frechet distance (not FID: another network) ") +
             score_digits(score.distance) + " between " + std::to_string(score.pictures) + " images and " +
             score.reference + "; protocol " + score.protocol->name + ": " +
             score.protocol->resize_words(network.side) + "; " + network_text(network.name, network));
}

}  // namespace tessera
