#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

#include "core/frame_rate.h"

/// Owners and small helpers over libav. Private to media: public headers do not include it.
namespace tessera::libav {

struct Free {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};
using Codec = std::unique_ptr<AVCodecContext, Free>;
using Frame = std::unique_ptr<AVFrame, Free>;
using Packet = std::unique_ptr<AVPacket, Free>;
using Scaler = std::unique_ptr<SwsContext, Free>;

/// Keeps libav from printing: its messages are kept for error_text(). Call before the first use of libav.
void quiet();

/// "Invalid data found when processing input (moov atom not found)": libav's text for a negative return value, with
/// the last error message it logged on this thread since quiet(), which is then cleared.
std::string error_text(int code);

/// A frame with its own padded buffers.
Frame make_frame(int width, int height, AVPixelFormat format);

AVRational rational(FrameRate rate);

/// Converts pixel formats at equal size, exactly rounded and the same on every CPU. YUV is by the matrix SWS_CS_*;
/// `full_range` is the YUV side's. 4:2:0 chroma sits at the left, as H.264 has it by default.
class Converter {
 public:
  Converter(int width, int height, AVPixelFormat from, AVPixelFormat to, int matrix = SWS_CS_ITU709,
            bool full_range = false);
  void run(const AVFrame& from, AVFrame& to) const;

 private:
  Scaler scaler_;
};

}  // namespace tessera::libav
