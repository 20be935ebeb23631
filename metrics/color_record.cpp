#include "metrics/color_record.h"

namespace tessera {
namespace {

constexpr const char *kMatrix = "matrix", *kVideos = "videos";

}  // namespace

void record_colors(const std::string& matrix, const std::string& videos, std::map<std::string, std::string>& made_by) {
  if (videos.empty()) return;
  made_by[kMatrix] = matrix;
  made_by[kVideos] = videos;
}

std::string recorded_colors(const std::string& matrix, const std::string& path,
                            const std::map<std::string, std::string>& made_by, const ScoreListener& listener) {
  const auto asked = made_by.find(kMatrix), videos = made_by.find(kVideos);
  if (asked != made_by.end() && asked->second != matrix)
    listener.note(path + " was made of videos with --matrix " + asked->second + ", this run uses " + matrix +
                  ": the score holds only if each is right for its videos");
  return videos == made_by.end() ? "" : videos->second;
}

}  // namespace tessera
