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
#include "metrics/video_check.h"
#include "metrics/video_tally.h"
#include "metrics/weights_cache.h"

namespace tessera {

/// The network that FVD is defined by: I3D trained on Kinetics-400, as the TorchScript program of StyleGAN-V.
const PublishedWeights& i3d_weights();

/// I3D from `chosen` or the cache for clips of `frames`. A file found in the cache is run only when its hash is the
/// published one; `chosen` may be any TorchScript program of the same form (see TorchScriptExtractor), whose scores are
/// not FVD. Throws Error as find_weights and TorchScriptExtractor do.
std::unique_ptr<Extractor> open_video_extractor(const std::string& chosen, int64_t frames, at::Device device);

/// What one side of a comparison is measured to be.
struct VideoFeatures {
  Gaussian gaussian;                    ///< covariance over N, as StyleGAN-V has it
  std::unique_ptr<FeatureStore> store;  ///< every clip's features when asked for
  int64_t clips = 0;                    ///< one a video
  std::vector<std::string> names;       ///< the videos of the clips
  VideoTally tally;                     ///< how video files were read
};

/// One clip of each video through the network; a clip and a D x D matrix are all that is held. `done` is called after
/// each. Throws Error when a video can no longer be read as check_videos found it.
VideoFeatures measure_videos(const std::vector<CountedVideo>& videos, const Extractor& extractor,
                             const VideoSetOptions& options, const std::function<void()>& done);

/// What statistics of clips say of themselves (see StatisticsFile): protocol, frames, stride, covariance, network.
MadeBy video_protocol(const ClipRule& rule, const ExtractorInfo& info);

}  // namespace tessera
