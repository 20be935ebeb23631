#include "metrics/video_tally.h"

#include "core/text.h"

namespace tessera {
namespace {

std::string label_of(const std::string& matrix) {
  if (matrix.starts_with("bt")) return "BT." + matrix.substr(2);
  return matrix == "fcc" ? "FCC" : "SMPTE 240M";
}

std::string words_of(const VideoTally::Colors& colors) {
  if (colors.matrix == "rgb") return "RGB or gray";
  const std::string why = colors.source == "assumed"  ? "untagged, so assumed"
                          : colors.source == "chosen" ? "by --matrix"
                                                      : "tagged";
  return label_of(colors.matrix) + " " + colors.range + " range (" + why + ")";
}

/// How many videos, and which to look at.
std::string videos_like(int64_t count, const std::filesystem::path& example) {
  return counted(count, "video") + (count == 1 ? " (" : " (the first is ") + example.string() + ")";
}

}  // namespace

void VideoTally::add(const std::filesystem::path& path, const VideoFacts& facts) {
  ++videos_of[{facts.matrix, facts.full_range ? "full" : "limited", facts.source}];
  turned += facts.turned;
  if (facts.hdr && hdr++ == 0) first_hdr = path;
  if (facts.other_angle && other_angle++ == 0) first_angled = path;
}

std::string VideoTally::words() const {
  std::string text;
  for (const auto& [colors, count] : videos_of)
    text += (text.empty() ? counted(count, "video") : ", " + std::to_string(count)) + " as " + words_of(colors);
  if (turned > 0) text += ", " + std::to_string(turned) + " turned upright";
  return text;
}

std::vector<std::string> VideoTally::warnings() const {
  std::vector<std::string> lines;
  if (hdr > 0)
    lines.push_back(videos_like(hdr, first_hdr) +
                    " in HDR or BT.2020 color: cut to 8-bit RGB without tone mapping, so the score compares colors "
                    "that no screen shows; convert to BT.709 first");
  if (other_angle > 0)
    lines.push_back(videos_like(other_angle, first_angled) +
                    " to be shown at an angle that is no multiple of 90 degrees: read as stored, not turned");
  return lines;
}

}  // namespace tessera
