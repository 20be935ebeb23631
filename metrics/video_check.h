#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "metrics/unreadable.h"
#include "metrics/video_set.h"

namespace tessera {

/// A video that was left out.
struct ShortVideo {
  std::filesystem::path path;
  int64_t frames = 0;
};

struct VideoSetOptions {
  ClipRule rule;
  int64_t most_clips = 2048;     ///< the first videos that can be read and are long enough; 0: all
  bool skip_short = false;       ///< leave out videos that are too short instead of failing
  bool skip_unreadable = false;  ///< leave out videos that cannot be read instead of failing
  bool keep_features = false;
  std::string matrix = "auto";  ///< see each_frame
};

/// A video and its frames as they were counted.
struct CountedVideo {
  VideoSource source;
  int64_t frames = 0;
};

/// A set after a look at its videos.
struct CheckedVideos {
  std::vector<CountedVideo> videos;        ///< that clips are taken of; their places are the indices of read_clip
  std::vector<ShortVideo> short_videos;    ///< left out
  std::vector<UnreadableFile> unreadable;  ///< left out
  std::string problem;                     ///< why the set cannot be measured with these options; "" when it can
};

/// Looks at the videos in their order until options.most_clips are found good, so that all that are bad are known
/// before the network runs: decodes every video file to its end, on as many threads as there are cores, and of a folder
/// of frames the pictures of its clip. `done` is called after each, on one thread at a time.
CheckedVideos check_videos(const std::vector<VideoSource>& found, const VideoSetOptions& options,
                           const std::function<void()>& done);

}  // namespace tessera
