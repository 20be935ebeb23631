#include "batch/manifest.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <regex>
#include <thread>
#include <unordered_set>

#include "core/atomic_file.h"
#include "core/cancel.h"

namespace tessera {
namespace {

nlohmann::ordered_json to_json(const ManifestEntry& entry) {
  nlohmann::ordered_json line = {
      {"id", entry.id},
      {"status", entry.status},
      {"output", entry.output},
      {"hash", entry.hash},
      {"sha256", entry.sha256},
      {"seconds", {{"text", entry.text_seconds}, {"denoise", entry.denoise_seconds}, {"decode", entry.decode_seconds}}},
      {"recipe", entry.recipe}};
  if (!entry.latents.empty()) line["latents"] = entry.latents;
  if (!entry.error.empty()) line["error"] = entry.error;
  return line;
}

ManifestEntry from_json(const nlohmann::json& line) {
  ManifestEntry entry;
  entry.id = line.at("id");
  entry.status = line.at("status");
  entry.output = line.at("output");
  entry.hash = line.at("hash");
  entry.sha256 = line.at("sha256");
  entry.latents = line.value("latents", "");
  entry.error = line.value("error", "");
  return entry;
}

/// Whether this process got the file for itself within `patience`.
bool lock(int descriptor, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return false;
    throw_if_canceled();
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

std::vector<std::string> whole_lines(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line) && !in.eof();) lines.push_back(line);
  return lines;
}

}  // namespace

Manifest::Manifest(const std::filesystem::path& path, Access access) : path_(path) {
  const bool writes = access == Access::kWrite;
  descriptor_ = open(path.c_str(), (writes ? O_RDWR | O_CREAT | O_APPEND : O_RDONLY) | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw write_error(path, errno);
  try {
    if (writes && !lock(descriptor_, std::chrono::milliseconds(0)))
      throw Error("another process writes " + path.string() + "; wait for it to end");
    read();
    if (writes && repaired_ && (ftruncate(descriptor_, whole_) != 0 || fsync(descriptor_) != 0))
      throw write_error(path_, errno);
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

Manifest::~Manifest() {
  close(descriptor_);
}

void Manifest::read() {
  std::ifstream in(path_, std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) {
      repaired_ = true;
      break;
    }
    whole_ += static_cast<off_t>(line.size()) + 1;
    remember(line);
  }
}

void Manifest::remember(const std::string& line) {
  try {
    ManifestEntry entry = from_json(nlohmann::json::parse(line));
    entries_.insert_or_assign(entry.id, std::move(entry));
  } catch (const nlohmann::json::exception&) {
    ++unreadable_;
  }
}

/// Appends whole lines and flushes them; when that fails the file ends as before.
void Manifest::write(const std::string& lines) {
  const off_t before = lseek(descriptor_, 0, SEEK_END);
  const auto undo = [&](int error_number) {
    if (ftruncate(descriptor_, before) != 0) return write_error(path_, errno);
    return write_error(path_, error_number);
  };
  for (size_t at = 0; at < lines.size();) {
    const ssize_t written = ::write(descriptor_, lines.data() + at, lines.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw undo(errno);
    at += static_cast<size_t>(written);
  }
  if (fsync(descriptor_) != 0) throw undo(errno);
}

void Manifest::append(const ManifestEntry& entry) {
  write(to_json(entry).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  ManifestEntry kept = entry;
  kept.recipe = nullptr;
  entries_.insert_or_assign(kept.id, std::move(kept));
}

bool Manifest::merge(const std::filesystem::path& shard, std::chrono::milliseconds patience) {
  const int other = open(shard.c_str(), O_RDWR | O_CLOEXEC);
  if (other < 0) throw write_error(shard, errno);
  const std::unique_ptr<const int, void (*)(const int*)> closing(&other, [](const int* held) { close(*held); });
  if (!lock(other, patience)) return false;
  const std::vector<std::string> mine = whole_lines(path_);
  const std::unordered_set<std::string> here(mine.begin(), mine.end());
  std::string missing;
  for (const std::string& line : whole_lines(shard)) {
    if (here.count(line)) continue;
    missing += line + "\n";
    remember(line);
  }
  write(missing);
  std::filesystem::remove(shard);
  return true;
}

const ManifestEntry* Manifest::find(const std::string& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

std::filesystem::path manifest_path(const std::filesystem::path& folder) {
  return folder / "manifest.jsonl";
}

std::filesystem::path shard_path(const std::filesystem::path& folder, int rank) {
  return folder / ("manifest.rank" + std::to_string(rank) + ".jsonl");
}

std::vector<std::filesystem::path> find_shards(const std::filesystem::path& folder) {
  static const std::regex name(R"(manifest\.rank[0-9]+\.jsonl)");
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file() && std::regex_match(entry.path().filename().string(), name))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace tessera
