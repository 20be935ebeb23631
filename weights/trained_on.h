#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/json_config.h"

namespace tessera {

/// What a small model was trained on, as it says itself: the object "trained_on" of its model_index.json, which other
/// programs ignore. A model without it makes no such promise.
struct TrainedOn {
  std::vector<std::string> sizes;  ///< of its images and clips, "128x128"
  std::vector<int64_t> frames;     ///< lengths: 1 for images
  std::set<std::string> words;     ///< of its captions, see words_of

  /// nullopt when `index` has no such object. Throws Error naming the file and key when it is malformed.
  static std::optional<TrainedOn> read(const JsonConfig& index);
  /// "1, 9 or 17 frames"; empty without frames.
  std::string frames_text() const;
  /// The object's value.
  nlohmann::json to_json() const;
};

/// The words of a text, ASCII letters in lower case: runs of letters, digits and apostrophes. Other characters beyond
/// ASCII count as letters, Unicode's punctuation and spaces excepted.
std::vector<std::string> words_of(const std::string& text);

}  // namespace tessera
