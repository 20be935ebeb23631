#include "media/libav.h"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

#include <c10/util/Exception.h>

#include <cstdarg>
#include <mutex>

#include "core/error.h"

namespace tessera::libav {
namespace {

thread_local std::string last_message;

void keep_message(void*, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_ERROR) return;
  char text[256];
  std::vsnprintf(text, sizeof text, format, arguments);
  last_message = text;
  while (!last_message.empty() && (last_message.back() == '\n' || last_message.back() == '.')) last_message.pop_back();
}

void set_option(SwsContext* scaler, const char* name, int64_t value) {
  TORCH_CHECK(av_opt_set_int(scaler, name, value, 0) >= 0, "swscale has no option ", name);
}

bool is_yuv(AVPixelFormat format) {
  const AVPixFmtDescriptor* description = av_pix_fmt_desc_get(format);
  return description && !(description->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL));
}

bool is_420(AVPixelFormat format) {
  const AVPixFmtDescriptor* description = av_pix_fmt_desc_get(format);
  return description && description->log2_chroma_w == 1 && description->log2_chroma_h == 1;
}

}  // namespace

void quiet() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(keep_message); });
  last_message.clear();
}

std::string error_text(int code) {
  char words[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, words, sizeof words);
  std::string text = words;
  if (!last_message.empty()) text += " (" + last_message + ")";
  last_message.clear();
  return text;
}

Frame make_frame(int width, int height, AVPixelFormat format) {
  Frame frame(av_frame_alloc());
  TORCH_CHECK(frame, "out of memory for a video frame");
  frame->width = width;
  frame->height = height;
  frame->format = format;
  if (av_frame_get_buffer(frame.get(), 0) < 0)
    throw Error("out of memory for a video frame of " + std::to_string(width) + "x" + std::to_string(height),
                ExitCode::kFailed);
  return frame;
}

AVRational rational(FrameRate rate) {
  return {static_cast<int>(rate.numerator), static_cast<int>(rate.denominator)};
}

Converter::Converter(int width, int height, AVPixelFormat from, AVPixelFormat to, int matrix, bool full_range)
    : scaler_(sws_alloc_context()) {
  TORCH_CHECK(scaler_, "out of memory for a pixel converter");
  SwsContext* scaler = scaler_.get();
  for (const char* side : {"srcw", "dstw"}) set_option(scaler, side, width);
  for (const char* side : {"srch", "dsth"}) set_option(scaler, side, height);
  set_option(scaler, "src_format", from);
  set_option(scaler, "dst_format", to);
  set_option(scaler, "sws_flags",
             SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT);
  for (const auto& [side, format] : {std::pair{"src", from}, std::pair{"dst", to}}) {
    if (!is_420(format)) continue;
    // In 1/256 of a luma sample: at the left horizontally, between two rows vertically.
    set_option(scaler, (std::string(side) + "_h_chr_pos").c_str(), 0);
    set_option(scaler, (std::string(side) + "_v_chr_pos").c_str(), 128);
  }
  const int* coefficients = sws_getCoefficients(matrix);
  const int from_full = is_yuv(from) ? full_range : 1, to_full = is_yuv(to) ? full_range : 1;
  sws_setColorspaceDetails(scaler, coefficients, from_full, coefficients, to_full, 0, 1 << 16, 1 << 16);
  TORCH_CHECK(sws_init_context(scaler, nullptr, nullptr) >= 0, "swscale cannot convert ", av_get_pix_fmt_name(from),
              " to ", av_get_pix_fmt_name(to), " at ", width, "x", height);
}

void Converter::run(const AVFrame& from, AVFrame& to) const {
  const int rows = sws_scale(scaler_.get(), from.data, from.linesize, 0, from.height, to.data, to.linesize);
  TORCH_CHECK(rows == to.height, "swscale converted ", rows, " rows of ", to.height);
}

}  // namespace tessera::libav
