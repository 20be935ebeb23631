#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "media/video_reader.h"
#include "metrics/image_set.h"

namespace tessera {

/// One video: a file, or a folder whose pictures are its frames.
struct VideoSource {
  std::filesystem::path path;
  std::vector<std::filesystem::path> pictures;  ///< in the natural order of their names; empty for a file
};

/// The videos at `path`, in the order of their paths: the file itself, or all video files in and below a folder, and as
/// one video each the folders that hold pictures and no video file, by their extensions (media/media_files.h); `note`
/// hears what else lies there. Frames are ordered with digits as numbers ("2.png" before "10.png"). Throws Error when
/// there is none.
std::vector<VideoSource> find_videos(const std::filesystem::path& path, const NoteListener& note = {});

/// How a clip is cut out of a video.
struct ClipRule {
  int64_t frames = 16;         ///< of the clip
  int64_t stride = 1;          ///< one of so many frames is taken
  bool random_offset = false;  ///< where it begins: anywhere it fits (seeded) instead of at the first frame
  uint64_t seed = 0;

  /// Frames that a video must have: frames * stride, as StyleGAN-V counts.
  int64_t span() const { return frames * stride; }
};

struct Clip {
  at::Tensor pixels;                ///< [1, 3, T, H, W] uint8 RGB
  std::optional<VideoFacts> facts;  ///< how a video file's frames became RGB
};

/// Number of frames: of a folder its pictures, of a file all that are decoded, so that one that is damaged anywhere
/// throws Error here. `go_on`: see count_video_frames.
int64_t count_frames(const VideoSource& video, const std::function<bool()>& go_on = {});

/// The clip of video number `index` of its set, of which `there` >= rule.span() frames are known to be there. A random
/// offset depends on rule.seed, index and `there` alone: anywhere in [0, there - span + stride - 1], each alike. Only
/// the frames of the clip are kept in memory. `matrix`: see each_frame. Throws Error when the clip cannot be read, ends
/// early or its frames differ in size.
Clip read_clip(const VideoSource& video, int64_t there, const ClipRule& rule, int64_t index,
               const std::string& matrix = "auto");

}  // namespace tessera
