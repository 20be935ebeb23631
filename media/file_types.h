#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace tessera {

enum class Medium { kNone, kPicture, kVideo };

/// What a file's extension says.
struct FileType {
  std::string extension;              ///< lower case, with the dot
  Medium read_as = Medium::kNone;     ///< in sets of pictures and videos; what a file truly is, its first bytes say
  Medium written_as = Medium::kNone;  ///< kNone where it is only read
  std::string muxer{};                ///< libav's, for videos that are written
  bool plays_in_img = false;          ///< a browser shows the video where it shows pictures
  int64_t most_fps = 0;               ///< frames per second that the format can hold; 0: any
  int64_t smooth_fps = 0;             ///< and that players keep to; 0: any
};

/// The row of the path's extension, in any case, in the one table of extensions; null when it has none.
const FileType* find_file_type(const std::filesystem::path& path);

/// Whether the path's extension is one of those read as pictures (.gif counts as a video, .webp as a picture).
bool is_picture_file(const std::filesystem::path& path);

/// Whether the path's extension is one of those read as videos.
bool is_video_file(const std::filesystem::path& path);

/// ".png, .jpg, ...": the extensions read as a medium, for messages.
std::string extensions_read_as(Medium medium);

/// ".mp4, .mov, ...": the extensions written as a medium, for messages.
std::string extensions_written_as(Medium medium);

/// The path's extension in lower case, with the dot; "" when it has none.
std::string lower_extension(const std::filesystem::path& path);

}  // namespace tessera
