#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// One video: a file, or a folder whose pictures are its frames.
struct VideoSource {
  std::filesystem::path path;
  std::vector<std::filesystem::path> pictures;  ///< in the order of their names; empty for a file
};

/// The videos at `path`, in the order of their paths: the file itself, or all video files in and below a folder, and as
/// one video each the folders that hold pictures and no video file, by their extensions (media/file_types.h). Hidden
/// files and folders are skipped. Throws Error when there is none.
std::vector<VideoSource> find_videos(const std::filesystem::path& path);

/// How a clip is cut out of a video.
struct ClipRule {
  int64_t frames = 16;         ///< of the clip
  int64_t stride = 1;          ///< one of so many frames is taken
  bool random_offset = false;  ///< where it begins: anywhere it fits (seeded) instead of at the first frame
  uint64_t seed = 0;

  /// Frames that a video must have: frames * stride, as StyleGAN-V counts.
  int64_t span() const { return frames * stride; }
};

/// A clip, or how many frames the video has when they are too few for one.
struct Clip {
  at::Tensor pixels;  ///< [1, 3, T, H, W] uint8 RGB; undefined when the video is too short
  int64_t there = 0;  ///< frames of the video
};

/// Number of frames, without decoding. Throws Error when the file is no video.
int64_t count_frames(const VideoSource& video);

/// The clip of video number `index`. A random offset depends on rule.seed and index alone: anywhere in
/// [0, there - span + stride - 1], each alike. Only the frames of the clip are kept in memory.
/// Throws Error when the video cannot be read or its frames differ in size.
Clip read_clip(const VideoSource& video, const ClipRule& rule, int64_t index);

}  // namespace tessera
