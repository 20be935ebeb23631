#include "metrics/fvd.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>

#include "core/cancel.h"
#include "core/error.h"
#include "core/text.h"
#include "metrics/torchscript_extractor.h"

namespace tessera {
namespace {

constexpr size_t kNamed = 10;  // short videos in a message

[[noreturn]] void refuse_short(const std::vector<ShortVideo>& short_videos, const ClipRule& rule) {
  const std::span shown(short_videos.data(), std::min(short_videos.size(), kNamed));
  std::string names = joined(shown, ", ", [](const ShortVideo& video) {
    return video.path.string() + " (" + std::to_string(video.frames) + ")";
  });
  if (short_videos.size() > kNamed) names += c10::str(" and ", short_videos.size() - kNamed, " more");
  throw Error(c10::str(counted(static_cast<int64_t>(short_videos.size()), "video has", "videos have"),
                       " fewer than the ", rule.span(), " frames of a clip: ", names,
                       "; choose --frames and --stride to fit, or leave them ", "out with --skip-short"));
}

}  // namespace

const PublishedWeights& i3d_weights() {
  static const PublishedWeights weights{
      "the I3D network that FVD is measured with",
      {"i3d_torchscript.pt"},
      "the file that StyleGAN-V's frechet_video_distance.py downloads; the authors of fvd-comparison published it, and "
      "mirrors of the same hash serve as well",
      "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
      "--extractor FILE"};
  return weights;
}

std::unique_ptr<Extractor> open_video_extractor(const std::string& chosen, int64_t frames, at::Device device) {
  const FoundWeights found = find_weights(i3d_weights(), chosen);
  if (chosen.empty() && !found.published) {
    throw Error(found.path.string() + " is not the published I3D (its SHA-256 is " + found.sha256 + ", want " +
                i3d_weights().sha256 + "): fetch it again, or name it with --extractor to run it all the same");
  }
  constexpr int64_t kSide = 64;  // of the picture that is tried first; the network resizes
  return std::make_unique<TorchScriptExtractor>(found.path, found.sha256, found.published ? "I3D (Kinetics-400)" : "",
                                                at::IntArrayRef{1, 3, frames, kSide, kSide}, device);
}

std::vector<ShortVideo> drop_short_videos(std::vector<VideoSource>& videos, const VideoSetOptions& options) {
  std::vector<VideoSource> kept;
  std::vector<ShortVideo> short_videos;
  for (VideoSource& video : videos) {
    if (options.most_clips > 0 && static_cast<int64_t>(kept.size()) == options.most_clips) break;
    throw_if_canceled();
    const int64_t there = count_frames(video);
    if (there < options.rule.span())
      short_videos.push_back({video.path, there});
    else
      kept.push_back(std::move(video));
  }
  if (!short_videos.empty() && !options.skip_short) refuse_short(short_videos, options.rule);
  if (kept.empty()) throw Error(c10::str("no video has the ", options.rule.span(), " frames of a clip"));
  videos = std::move(kept);
  return short_videos;
}

VideoFeatures measure_videos(const std::vector<VideoSource>& videos, const Extractor& extractor,
                             const VideoSetOptions& options, const std::function<void()>& done) {
  const int64_t D = extractor.info().dims;
  FeatureStatistics statistics(D);
  VideoFeatures result;
  if (options.keep_features) result.store = std::make_unique<FeatureStore>(D);
  for (size_t i = 0; i < videos.size(); ++i) {
    throw_if_canceled();
    const Clip clip = read_clip(videos[i], options.rule, static_cast<int64_t>(i));
    if (clip.pixels.defined()) {
      const at::Tensor pool = extractor.features(clip.pixels).pool;
      statistics.add(pool);
      if (result.store) result.store->add(pool);
    } else {
      result.short_videos.push_back({videos[i].path, clip.there});
      if (!options.skip_short) refuse_short(result.short_videos, options.rule);
    }
    if (done) done();
  }
  result.clips = statistics.count();
  if (result.clips == 0) throw Error(c10::str("no video has the ", options.rule.span(), " frames of a clip"));
  result.gaussian = statistics.gaussian(CovarianceDivisor::kCount);
  return result;
}

std::map<std::string, std::string> video_protocol(const ClipRule& rule, const ExtractorInfo& info) {
  return {{"protocol", "stylegan-v fvd"},
          {"frames", std::to_string(rule.frames)},
          {"stride", std::to_string(rule.stride)},
          {"covariance", "over N"},
          {"extractor", info.name},
          {"weights", info.sha256},
          {"dtype", info.dtype}};
}

}  // namespace tessera
