#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/extractor.h"
#include "metrics/fvd.h"
#include "metrics/metric.h"
#include "metrics/score_request.h"

namespace tessera {

/// Which sets of videos to compare and how. A set is whatever find_videos takes, statistics or features.
struct VideoScoreRequest : ScoreRequest {
  MetricOptions metrics{.names = {"fvd"}, .seed = 0};  ///< the seed is that of random offsets too
  std::string extractor;        ///< the I3D file or another TorchScript program; empty: I3D from the cache
  std::string device = "auto";  ///< as open_device takes it
  int64_t frames = 16, stride = 1;
  int64_t clips = 2048;           ///< of each set, one a video; 0: of all videos
  bool generated_random = false;  ///< a generated video's clip begins at a random place, not at the first frame
  bool reference_random = true;   ///< likewise a reference video's
  bool skip_short = false;        ///< leave out videos that are too short instead of failing
};

/// A set of videos, measured or read from statistics.
struct MeasuredVideos : FeatureSet {
  std::string offset = "";                      ///< where clips begin: "first", "random" or "unknown"
  std::vector<ShortVideo> short_videos = {};    ///< left out
  std::vector<UnreadableFile> unreadable = {};  ///< left out
  VideoTally tally = {};                        ///< how video files were read
  std::string video_words = {};                 ///< the same in words, of files of arrays too; "" without video files
};

/// The scores and all that another person needs to repeat or to judge them.
struct VideoScores {
  ExtractorInfo network;
  int64_t frames = 0, stride = 0, seed = 0;
  MeasuredVideos generated, reference;
  std::vector<MetricScore> scores;  ///< in the order of the table of metrics; FVD is the first
};

/// As score_images, of videos.
std::optional<VideoScores> score_videos(const VideoScoreRequest& request, const ScoreListener& listener);

}  // namespace tessera
