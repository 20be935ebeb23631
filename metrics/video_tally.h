#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "media/video_reader.h"

namespace tessera {

/// How the video files of a set became RGB, counted.
struct VideoTally {
  /// Of a video's colors; see VideoFacts.
  struct Colors {
    std::string matrix, range, source;  ///< range: "limited" or "full"
    auto operator<=>(const Colors&) const = default;
  };

  std::map<Colors, int64_t> videos_of;
  int64_t hdr = 0;                                ///< PQ, HLG or BT.2020
  int64_t turned = 0;                             ///< made upright
  int64_t other_angle = 0;                        ///< left as stored
  std::filesystem::path first_hdr, first_angled;  ///< an example of each

  void add(const std::filesystem::path& path, const VideoFacts& facts);
  bool empty() const { return videos_of.empty(); }
  /// "2 videos as BT.601 limited range (untagged, so assumed), 1 as BT.709 limited range (tagged)"; "" without videos.
  std::string words() const;
  /// What the user should know: HDR without tone mapping, odd angles. A line each, naming a file and the count.
  std::vector<std::string> warnings() const;
};

}  // namespace tessera
