#include "app/score_report.h"

#include <iostream>

#include "app/command_line.h"
#include "core/text.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

Json network_json(const ExtractorInfo& network) {
  return {{"name", network.name}, {"sha256", network.sha256}, {"dtype", network.dtype}, {"dims", network.dims}};
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

std::string text_of(const std::vector<MetricScore>& scores) {
  return joined(scores, "", [](const MetricScore& score) { return score.text; });
}

Json set_json(const MeasuredImages& set) {
  Json unreadable = Json::array();
  for (const UnreadableImage& file : set.unreadable)
    unreadable.push_back({{"path", file.path.string()}, {"reason", file.reason}});
  Json out{{"path", set.path},
           {"images", count_json(set)},
           {"statistics_file", set.is_statistics},
           {"videos", set.videos},
           {"unreadable", unreadable}};
  if (set.seconds) out["images_per_second"] = *set.seconds > 0 ? static_cast<double>(set.count()) / *set.seconds : 0;
  return out;
}

Json set_json(const MeasuredVideos& set) {
  Json left_out = Json::array();
  for (const ShortVideo& video : set.short_videos)
    left_out.push_back({{"path", video.path.string()}, {"frames", video.frames}});
  return {{"path", set.path},
          {"clips", count_json(set)},
          {"offset", set.offset},
          {"statistics_file", set.is_statistics},
          {"short_videos", left_out}};
}

std::string set_text(const MeasuredImages& set) {
  const std::string unreadable =
      set.unreadable.empty() ? "" : ", " + counted(static_cast<int64_t>(set.unreadable.size()), "file") + " unreadable";
  return set.path + ", " + count_text(set, "image") + unreadable + "\n";
}

std::string set_text(const MeasuredVideos& set) {
  return set.path + ", " + count_text(set, "clip") + ", offset " + set.offset + "\n";
}

Json to_json(const ImageScores& scores) {
  Json out{{"protocol", scores.protocol->name},
           {"resize", scores.protocol->resize_words},
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
         set_text(scores.reference) + scores.protocol->name + " protocol: " + scores.protocol->resize_words + "; " +
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
    std::cout << to_json(scores).dump(2) << std::endl;
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
                   {"resize", score.protocol->resize_words},
                   {"reference", score.reference},
                   {"pixels", "as rendered, before any video codec"},
                   {"extractor", network_json(network)}};
    std::cout << Json{{"fid", fid}}.dump() << std::endl;
    return;
  }
  print_note((network.is_standard ? "FID " : "Frechet distance (not FID: another network) ") +
             score_digits(score.distance) + " between " + std::to_string(score.pictures) + " images and " +
             score.reference + "; protocol " + score.protocol->name + ": " + score.protocol->resize_words + "; " +
             network_text(network.name, network));
}

}  // namespace tessera
