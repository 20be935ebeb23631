#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/frame_rate.h"

namespace tessera {

/// A decoded video.
struct Video {
  at::Tensor frames;  ///< [T, H, W, 3] uint8 RGB, upright, with the odd side that was padded to even when written
  FrameRate fps;
  std::map<std::string, std::string> tags;  ///< the container's metadata, keys in lower case, e.g. "comment"
  std::string codec;                        ///< e.g. "h264"
  std::string pixel_format;                 ///< e.g. "yuv420p"
};

/// How the frames of a video became upright RGB: what its file says and what was assumed. Of its first frame.
struct VideoFacts {
  std::string matrix;        ///< "bt601", "bt709", "bt2020", "fcc" or "smpte240m"; "rgb" for gray and RGB
  std::string source;        ///< of the matrix: "tagged", "assumed" (the file does not say) or "chosen" (by the caller)
  bool full_range = false;   ///< of YUV; limited when the file does not say
  bool hdr = false;          ///< PQ, HLG or BT.2020, cut to 8 bits without tone mapping
  bool turned = false;       ///< by the display matrix, in steps of 90 degrees, or mirrored
  bool other_angle = false;  ///< the display matrix is none of these and was ignored
};

/// "auto", "bt601", "bt709", "bt2020": what `matrix` below may be.
const std::vector<std::string>& color_matrix_names();

/// Decodes the first video stream of any file that libav reads; at most `most_frames` frames (0: all). YUV is converted
/// by the matrix and range that the file is tagged with; untagged, by BT.601 in limited range, whatever the height, as
/// FFmpeg and OpenCV do. Frames are turned and mirrored as the display matrix says. All are held in memory. Throws
/// Error naming the file and libav's reason; for a cut-off or damaged file too when all frames are wanted.
Video read_video(const std::filesystem::path& path, int64_t most_frames = 0);

/// Decodes as read_video does and hands over each frame, [H, W, 3] uint8, until `use` returns false or the video ends,
/// with one frame in memory at a time. `matrix` other than "auto" replaces every tag. Throws Error as read_video does,
/// possibly after frames were handed over.
VideoFacts each_frame(const std::filesystem::path& path, const std::function<bool(const at::Tensor& frame)>& use,
                      const std::string& matrix = "auto");

/// How many frames each_frame would hand over, found by decoding them all without a conversion to RGB, so a file that
/// is damaged anywhere throws Error here. `go_on` is asked before each frame; the count ends early when it says false.
int64_t count_video_frames(const std::filesystem::path& path, const std::function<bool()>& go_on = {});

}  // namespace tessera
