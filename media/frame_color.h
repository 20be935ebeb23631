#pragma once

extern "C" {
#include <libavutil/frame.h>
}

#include <string>
#include <vector>

/// What a decoded frame says of its colors. Private to media, as media/libav.h is.
namespace tessera::libav {

/// How the YUV of a frame is to become RGB.
struct FrameColor {
  std::string matrix;    ///< a name of the table of matrices; "rgb" for RGB, palettes and gray, which need none
  std::string source;    ///< "tagged", "assumed" or "chosen"
  int coefficients = 0;  ///< of the matrix, SWS_CS_*
  bool full_range = false;
  bool hdr = false;  ///< tagged as PQ, HLG or BT.2020

  bool operator==(const FrameColor&) const = default;
};

/// "auto" and the matrices that a user may choose.
const std::vector<std::string>& matrix_names();

/// By `matrix` unless it is "auto"; else by the frame's tag and, without one, BT.601 as FFmpeg does. The range is
/// limited unless tagged full or told by a yuvj format.
FrameColor color_of(const AVFrame& frame, const std::string& matrix);

}  // namespace tessera::libav
