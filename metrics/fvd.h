#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "metrics/extractor.h"
#include "metrics/feature_store.h"
#include "metrics/made_by.h"
#include "metrics/video_set.h"
#include "metrics/weights_cache.h"

namespace tessera {

/// The network that FVD is defined by: I3D trained on Kinetics-400, as the TorchScript program of StyleGAN-V.
const PublishedWeights& i3d_weights();

/// I3D from `chosen` or the cache for clips of `frames`. A file found in the cache is run only when its hash is the
/// published one; `chosen` may be any TorchScript program of the same form (see TorchScriptExtractor), whose scores are
/// not FVD. Throws Error as find_weights and TorchScriptExtractor do.
std::unique_ptr<Extractor> open_video_extractor(const std::string& chosen, int64_t frames, at::Device device);

/// A video that was left out.
struct ShortVideo {
  std::filesystem::path path;
  int64_t frames = 0;
};

/// What one side of a comparison is measured to be.
struct VideoFeatures {
  Gaussian gaussian;                     ///< covariance over N, as StyleGAN-V has it
  std::unique_ptr<FeatureStore> store;   ///< every clip's features when asked for
  int64_t clips = 0;                     ///< one a video
  std::vector<std::string> names;        ///< the videos of the clips
  std::vector<ShortVideo> short_videos;  ///< left out
};

struct VideoSetOptions {
  ClipRule rule;
  int64_t most_clips = 2048;  ///< the first videos that are long enough; 0: all
  bool skip_short = false;    ///< leave out videos that are too short instead of failing
  bool keep_features = false;
};

/// Counts frames first (`videos` is cut to those used), so that a video that is too short is known before the network
/// runs; throws Error listing the short ones unless they are to be skipped, and when none is left.
std::vector<ShortVideo> drop_short_videos(std::vector<VideoSource>& videos, const VideoSetOptions& options);

/// One clip of each video through the network; a clip and a D x D matrix are all that is held. `done` is called after
/// each. Throws Error as above for a video that turns out shorter than it says.
VideoFeatures measure_videos(const std::vector<VideoSource>& videos, const Extractor& extractor,
                             const VideoSetOptions& options, const std::function<void()>& done);

/// What statistics of clips say of themselves (see StatisticsFile): protocol, frames, stride, covariance, network.
MadeBy video_protocol(const ClipRule& rule, const ExtractorInfo& info);

}  // namespace tessera
