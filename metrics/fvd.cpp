#include "metrics/fvd.h"

#include <ATen/ATen.h>

#include "core/cancel.h"
#include "core/error.h"
#include "metrics/torchscript_extractor.h"

namespace tessera {
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

VideoFeatures measure_videos(const std::vector<CountedVideo>& videos, const Extractor& extractor,
                             const VideoSetOptions& options, const std::function<void()>& done) {
  const int64_t D = extractor.info().dims;
  FeatureStatistics statistics(D);
  VideoFeatures result;
  if (options.keep_features) result.store = std::make_unique<FeatureStore>(D);
  for (size_t i = 0; i < videos.size(); ++i) {
    throw_if_canceled();
    const Clip clip =
        read_clip(videos[i].source, videos[i].frames, options.rule, static_cast<int64_t>(i), options.matrix);
    if (clip.facts) result.tally.add(videos[i].source.path, *clip.facts);
    const at::Tensor pool = extractor.features(clip.pixels).pool;
    statistics.add(pool);
    if (result.store) result.store->add(pool);
    result.names.push_back(videos[i].source.path.string());
    if (done) done();
  }
  result.clips = statistics.count();
  result.gaussian = statistics.gaussian(CovarianceDivisor::kCount);
  return result;
}

MadeBy video_protocol(const ClipRule& rule, const ExtractorInfo& info) {
  return {{"protocol", "stylegan-v fvd"},
          {"frames", std::to_string(rule.frames)},
          {"stride", std::to_string(rule.stride)},
          {"covariance", "over N"},
          {"extractor", info.name},
          {"weights", info.sha256},
          {"dtype", info.dtype}};
}

}  // namespace tessera
