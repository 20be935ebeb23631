#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "media/frame_rate.h"

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
/// range. All frames lie in memory. Throws Error naming the file and libav's reason.
Video read_video(const std::filesystem::path& path, int64_t most_frames = 0);

}  // namespace tessera
