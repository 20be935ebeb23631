#include "media/file_types.h"

#include <algorithm>
#include <vector>

#include "core/text.h"

namespace tessera {
namespace {

const std::vector<FileType> kFileTypes = {
    {.extension = ".png", .read_as = Medium::kPicture, .written_as = Medium::kPicture},
    {.extension = ".jpg", .read_as = Medium::kPicture, .written_as = Medium::kPicture},
    {.extension = ".jpeg", .read_as = Medium::kPicture, .written_as = Medium::kPicture},
    {.extension = ".jfif", .read_as = Medium::kPicture},
    {.extension = ".bmp", .read_as = Medium::kPicture},
    {.extension = ".pbm", .read_as = Medium::kPicture},
    {.extension = ".pgm", .read_as = Medium::kPicture},
    {.extension = ".ppm", .read_as = Medium::kPicture},
    {.extension = ".pnm", .read_as = Medium::kPicture},
    {.extension = ".pfm", .read_as = Medium::kPicture},
    {.extension = ".tif", .read_as = Medium::kPicture},
    {.extension = ".tiff", .read_as = Medium::kPicture},
    {.extension = ".avif", .read_as = Medium::kPicture},
    {.extension = ".heic", .read_as = Medium::kPicture},
    {.extension = ".heif", .read_as = Medium::kPicture},
    {.extension = ".mp4", .read_as = Medium::kVideo, .written_as = Medium::kVideo, .muxer = "mp4"},
    {.extension = ".m4v", .read_as = Medium::kVideo},
    {.extension = ".mov", .read_as = Medium::kVideo, .written_as = Medium::kVideo, .muxer = "mov"},
    {.extension = ".mkv", .read_as = Medium::kVideo, .written_as = Medium::kVideo, .muxer = "matroska"},
    {.extension = ".webm", .read_as = Medium::kVideo, .written_as = Medium::kVideo, .muxer = "webm"},
    {.extension = ".avi", .read_as = Medium::kVideo},
    {.extension = ".mpg", .read_as = Medium::kVideo},
    {.extension = ".mpeg", .read_as = Medium::kVideo},
    {.extension = ".ts", .read_as = Medium::kVideo},
    {.extension = ".mts", .read_as = Medium::kVideo},
    {.extension = ".m2ts", .read_as = Medium::kVideo},
    {.extension = ".wmv", .read_as = Medium::kVideo},
    {.extension = ".flv", .read_as = Medium::kVideo},
    {.extension = ".ogv", .read_as = Medium::kVideo},
    {.extension = ".3gp", .read_as = Medium::kVideo},
    {.extension = ".y4m", .read_as = Medium::kVideo},
    // A GIF counts hundredths of a second between frames and a WebP milliseconds; browsers take up to one hundredth (of
    // either) for a mistake and wait ten.
    {.extension = ".gif",
     .read_as = Medium::kVideo,
     .written_as = Medium::kVideo,
     .muxer = "gif",
     .plays_in_img = true,
     .most_fps = 100,
     .smooth_fps = 50},
    {.extension = ".webp",
     .read_as = Medium::kPicture,
     .written_as = Medium::kVideo,
     .muxer = "webp",
     .plays_in_img = true,
     .smooth_fps = 90},
};

/// The extensions of the rows whose `column` holds `medium`.
std::string listed(Medium FileType::*column, Medium medium) {
  std::vector<std::string> extensions;
  for (const FileType& type : kFileTypes)
    if (type.*column == medium) extensions.push_back(type.extension);
  return joined(extensions);
}

}  // namespace

std::string lower_extension(const std::filesystem::path& path) {
  return in_lower_case(path.extension().string());
}

const FileType* find_file_type(const std::filesystem::path& path) {
  const auto found = std::find_if(kFileTypes.begin(), kFileTypes.end(),
                                  [&](const FileType& type) { return type.extension == lower_extension(path); });
  return found == kFileTypes.end() ? nullptr : &*found;
}

bool is_picture_file(const std::filesystem::path& path) {
  const FileType* type = find_file_type(path);
  return type && type->read_as == Medium::kPicture;
}

bool is_video_file(const std::filesystem::path& path) {
  const FileType* type = find_file_type(path);
  return type && type->read_as == Medium::kVideo;
}

std::string extensions_read_as(Medium medium) {
  return listed(&FileType::read_as, medium);
}

std::string extensions_written_as(Medium medium) {
  return listed(&FileType::written_as, medium);
}

}  // namespace tessera
