#include "metrics/color_record.h"

namespace tessera {
namespace {

constexpr const char *kMatrix = "matrix", *kVideos = "videos";

}  // namespace

void record_colors(const std::string& matrix, const std::string& videos, MadeBy& made_by) {
  if (videos.empty()) return;
  made_by[kMatrix] = matrix;
  made_by[kVideos] = videos;
}

std::string recorded_colors(const std::string& matrix, const std::string& path, const ArrayInput& input,
                            const ScoreListener& listener) {
  for (const MadeBy& record : records_of(input)) {
    const auto asked = record.find(kMatrix), videos = record.find(kVideos);
    if (videos == record.end()) continue;
    if (asked != record.end() && asked->second != matrix)
      listener.note(path + " was made of videos with --matrix " + asked->second + ", this run uses " + matrix +
                    ": the score holds only if each is right for its videos");
    return videos->second;
  }
  return "";
}

}  // namespace tessera
