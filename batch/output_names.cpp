#include "batch/output_names.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

std::string folder_of(const std::string& key) {
  return key.substr(0, key.rfind('/') == std::string::npos ? 0 : key.rfind('/'));
}

/// The position of %0Nd in a pattern's name.
size_t number_at(const std::string& key) {
  for (size_t at = key.find("%0"); at != std::string::npos; at = key.find("%0", at + 1))
    if (at == 0 || key[at - 1] != '%') return at;
  return std::string::npos;
}

/// Whether `key` is what a pattern makes of some number.
bool is_frame(const std::string& key, const std::string& before, const std::string& after, size_t digits) {
  if (key.size() < before.size() + digits + after.size() || !key.starts_with(before) || !key.ends_with(after))
    return false;
  return std::all_of(key.begin() + static_cast<std::ptrdiff_t>(before.size()),
                     key.end() - static_cast<std::ptrdiff_t>(after.size()),
                     [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

void OutputNames::refuse_folder_of_another(const std::string& name, const std::string& key) const {
  if (const auto inside = folders_.find(key); inside != folders_.end())
    throw Error("the output " + name + " is also the folder of " + inside->second + "; rename one");
  for (size_t end = key.find('/'); end != std::string::npos; end = key.find('/', end + 1)) {
    const std::string folder = key.substr(0, end);
    if (folder == "manifest.jsonl" || folder == "index.html")
      throw Error("the output " + name + " wants a folder named " + folder + ", which is a file of the batch's own");
    if (const auto file = files_.find(folder); file != files_.end())
      throw Error("the output " + name + " lies in a folder named as the output of \"" + file->second +
                  "\", which is a file; rename one");
  }
}

void OutputNames::refuse_frame_of_another(const std::string& name, const std::string& key) const {
  const auto patterns = patterns_.find(folder_of(key));
  if (patterns == patterns_.end()) return;
  for (const Pattern& pattern : patterns->second)
    if (is_frame(key, pattern.before, pattern.after, pattern.digits))
      throw Error("the output " + name + " is also a frame of \"" + pattern.id + "\"; rename one");
}

void OutputNames::claim(const std::string& name, bool frames, const std::string& id) {
  const std::string key = in_lower_case(name);
  if (const auto owner = files_.find(key); owner != files_.end())
    throw Error("the output " + name + " is also that of \"" + owner->second + "\"");
  refuse_folder_of_another(name, key);
  if (!frames) {
    refuse_frame_of_another(name, key);
  } else if (const size_t at = number_at(key); at != std::string::npos) {
    const Pattern pattern{key.substr(0, at), key.substr(at + 4), static_cast<size_t>(key[at + 2] - '0'), id};
    for (auto file = files_.lower_bound(pattern.before);
         file != files_.end() && file->first.starts_with(pattern.before); ++file)
      if (is_frame(file->first, pattern.before, pattern.after, pattern.digits))
        throw Error("a frame of the output " + name + " is also that of \"" + file->second + "\"; rename one");
    patterns_[folder_of(key)].push_back(pattern);
  }
  files_.emplace(key, id);
  for (size_t end = key.find('/'); end != std::string::npos; end = key.find('/', end + 1))
    folders_.emplace(key.substr(0, end), name);
}

}  // namespace tessera
