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
  std::string options;        ///< "key=value:key=value"
  double bits_per_pixel = 0;  ///< for encoders without a quality setting: bit rate / (width * height * fps)
};

/// One output file type.
struct ContainerSpec {
  std::string extension;  ///< lower case, with the dot
  std::string muxer;
  std::string options;                    ///< of the muxer
  std::string format;                     ///< in words, for messages: "H.264 video"
  std::vector<std::string> automatic;     ///< encoders tried in this order
  std::vector<std::string> on_request{};  ///< others that may be asked for by name
};

/// The row for the path's extension (any case). Throws Error listing the extensions there are.
const ContainerSpec& container_for(const std::filesystem::path& path);

/// True when the extension, in any case, is one of a video container's.
bool is_video_extension(const std::filesystem::path& path);

/// ".mp4, .mov, ...": every extension, for messages.
std::string video_extensions();

/// The row for an encoder of the table.
const EncoderSpec& encoder_spec(const std::string& name);

/// The names to try, in order: `requested` alone, or the container's automatic ones when it is empty. Throws Error when
/// the container's row lacks `requested`, naming those it has.
std::vector<std::string> encoder_candidates(const ContainerSpec& container, const std::string& requested);

}  // namespace tessera
