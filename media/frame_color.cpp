#include "media/frame_color.h"

extern "C" {
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <c10/util/Exception.h>

#include <algorithm>
#include <string_view>

namespace tessera::libav {
namespace {

struct Matrix {
  std::string name;
  int coefficients;
  std::vector<AVColorSpace> tags;
  bool may_be_chosen;
};

const std::vector<Matrix> kMatrices = {
    {"bt601", SWS_CS_ITU601, {AVCOL_SPC_BT470BG, AVCOL_SPC_SMPTE170M}, true},
    {"bt709", SWS_CS_ITU709, {AVCOL_SPC_BT709}, true},
    {"bt2020", SWS_CS_BT2020, {AVCOL_SPC_BT2020_NCL, AVCOL_SPC_BT2020_CL}, true},
    {"fcc", SWS_CS_FCC, {AVCOL_SPC_FCC}, false},
    {"smpte240m", SWS_CS_SMPTE240M, {AVCOL_SPC_SMPTE240M}, false},
};

bool has_no_chroma(const AVPixFmtDescriptor& format) {
  return (format.flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) != 0 || format.nb_components < 3;
}

const Matrix* tagged_matrix(AVColorSpace tag) {
  const auto found = std::find_if(kMatrices.begin(), kMatrices.end(), [&](const Matrix& matrix) {
    return std::find(matrix.tags.begin(), matrix.tags.end(), tag) != matrix.tags.end();
  });
  return found == kMatrices.end() ? nullptr : &*found;
}

const Matrix& named_matrix(const std::string& name) {
  const auto found =
      std::find_if(kMatrices.begin(), kMatrices.end(), [&](const Matrix& matrix) { return matrix.name == name; });
  TORCH_CHECK(found != kMatrices.end(), "there is no color matrix ", name);
  return *found;
}

bool is_full_range(const AVFrame& frame, const AVPixFmtDescriptor& format) {
  return frame.color_range == AVCOL_RANGE_JPEG || std::string_view(format.name).starts_with("yuvj");
}

}  // namespace

const std::vector<std::string>& matrix_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all{"auto"};
    for (const Matrix& matrix : kMatrices)
      if (matrix.may_be_chosen) all.push_back(matrix.name);
    return all;
  }();
  return names;
}

FrameColor color_of(const AVFrame& frame, const std::string& matrix) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  TORCH_CHECK(format, "a frame of an unknown pixel format ", frame.format);
  const bool hdr = frame.color_trc == AVCOL_TRC_SMPTE2084 || frame.color_trc == AVCOL_TRC_ARIB_STD_B67 ||
                   frame.color_primaries == AVCOL_PRI_BT2020 || frame.colorspace == AVCOL_SPC_BT2020_NCL ||
                   frame.colorspace == AVCOL_SPC_BT2020_CL;
  if (has_no_chroma(*format)) return {"rgb", "tagged", SWS_CS_DEFAULT, true, hdr};
  const bool full_range = is_full_range(frame, *format);
  if (matrix != "auto") return {matrix, "chosen", named_matrix(matrix).coefficients, full_range, hdr};
  if (const Matrix* tagged = tagged_matrix(frame.colorspace))
    return {tagged->name, "tagged", tagged->coefficients, full_range, hdr};
  return {"bt601", "assumed", SWS_CS_ITU601, full_range, hdr};
}

}  // namespace tessera::libav
