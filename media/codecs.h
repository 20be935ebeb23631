#pragma once

#include <libavutil/pixfmt.h>

#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// How one libav encoder is run. Private to media: the header exposes libav.
struct EncoderSpec {
  std::string name;
  AVPixelFormat format;
  std::string options{};      ///< "key=value:key=value"
  double bits_per_pixel = 0;  ///< for encoders without a quality setting: bit rate / (width * height * fps)
  int64_t most_side = 0;      ///< most pixels per side of its format; 0: the encoder checks when it is opened
};

/// How one type of video file is written.
struct ContainerSpec {
  std::string muxer;
  std::string options{};                  ///< of the muxer
  std::string format;                     ///< in words, for messages: "H.264 video"
  std::vector<std::string> automatic;     ///< encoders tried in this order
  std::vector<std::string> on_request{};  ///< others that can be requested by name
};

/// The row for the path's extension (media/file_types.h). Throws Error listing the extensions of videos.
const ContainerSpec& container_for(const std::filesystem::path& path);

/// The row for an encoder of the table.
const EncoderSpec& encoder_spec(const std::string& name);

/// The names to try, in order: `requested` alone, or the container's automatic ones when it is empty. Throws Error when
/// the container's row lacks `requested`, naming those it has.
std::vector<std::string> encoder_candidates(const ContainerSpec& container, const std::string& requested);

}  // namespace tessera
