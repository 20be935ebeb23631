#include "media/media_files.h"

#include <algorithm>
#include <map>

#include "core/text.h"
#include "core/visible_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// What a file that is not read goes by in the note.
std::string ignored_name(const fs::path& file) {
  std::string extension = lower_extension(file);
  if (extension.empty()) return "without an extension";
  for (char& c : extension)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return extension;
}

std::string note_of(const fs::path& folder, const std::map<std::string, int64_t>& ignored) {
  constexpr size_t kMostKinds = 8;
  std::vector<std::pair<std::string, int64_t>> kinds(ignored.begin(), ignored.end());
  std::stable_sort(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> counts;
  for (size_t i = 0; i < std::min(kinds.size(), kMostKinds); ++i)
    counts.push_back(std::to_string(kinds[i].second) + " " + kinds[i].first);
  if (kinds.size() > kMostKinds) {
    int64_t rest = 0;
    for (size_t i = kMostKinds; i < kinds.size(); ++i) rest += kinds[i].second;
    counts.push_back(std::to_string(rest) + " of " + std::to_string(kinds.size() - kMostKinds) + " other kinds");
  }
  return counts.empty() ? "" : folder.string() + ": " + joined(counts) + " ignored";
}

}  // namespace

MediaFiles find_media(const fs::path& folder, std::initializer_list<Medium> wanted) {
  const auto is_wanted = [&](const fs::path& file) {
    const FileType* type = find_file_type(file);
    return type && std::find(wanted.begin(), wanted.end(), type->read_as) != wanted.end();
  };
  FolderScan scan = scan_folder(folder);
  MediaFiles found;
  std::map<std::string, int64_t> ignored;
  for (fs::path& file : scan.files) {
    if (is_wanted(file))
      found.files.push_back(std::move(file));
    else
      ++ignored[ignored_name(file)];
  }
  for (const FolderScan::Odd& other : scan.others) ++ignored[other.what + " (" + other.path.string() + ")"];
  for (fs::path& file : scan.lost)
    if (is_wanted(file)) found.files.push_back(std::move(file));
  for (FolderScan::Odd& inner : scan.unlisted) found.files.push_back(std::move(inner.path));
  std::sort(found.files.begin(), found.files.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  found.note = note_of(folder, ignored);
  return found;
}

}  // namespace tessera
