#include "metrics/unreadable.h"

#include <algorithm>

namespace tessera {

std::string list_of(const std::vector<UnreadableFile>& files) {
  constexpr size_t kShown = 10;
  std::string text;
  for (size_t i = 0; i < std::min(files.size(), kShown); ++i) text += "\n  " + files[i].reason;
  if (files.size() > kShown) text += "\n  and " + std::to_string(files.size() - kShown) + " more";
  return text;
}

std::string words_of_unreadable(const std::vector<UnreadableFile>& files, size_t total, const std::string& noun) {
  return std::to_string(files.size()) + " of " + std::to_string(total) + " " + noun +
         " cannot be read; --skip-unreadable leaves them out:" + list_of(files);
}

}  // namespace tessera
