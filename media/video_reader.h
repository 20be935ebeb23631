#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "core/frame_rate.h"

namespace tessera {

/// A decoded video.
struct Video {
  at::Tensor frames;  ///< [T, H, W, 3] uint8 RGB, at the stored size (an odd side was padded to even when written)
  FrameRate fps;
  std::map<std::string, std::string> tags;  ///< the container's metadata, keys in lower case, e.g. "comment"
  std::string codec;                        ///< e.g. "h264"
  std::string pixel_format;                 ///< e.g. "yuv420p"
};

/// Decodes the first video stream of any file that libav reads; at most `most_frames` frames (0: all). YUV is converted
/// by the matrix and range that the file is tagged with; untagged, by BT.709 from 720 rows on and BT.601 below, limited
/// range. All frames are held in memory. Throws Error naming the file and libav's reason.
Video read_video(const std::filesystem::path& path, int64_t most_frames = 0);

/// Decodes as read_video does and hands over each frame, [H, W, 3] uint8, until `use` returns false or the video ends,
/// with one frame in memory at a time. Returns how many frames were handed over. Throws Error as read_video does.
int64_t each_frame(const std::filesystem::path& path, const std::function<bool(const at::Tensor& frame)>& use);

/// How many frames the first video stream has by its container's index or, without one, its packets: nothing is
/// decoded, so a damaged file or one with hidden frames may give fewer. Throws Error when it is no video.
int64_t count_video_frames(const std::filesystem::path& path);

}  // namespace tessera
