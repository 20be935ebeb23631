#include "batch/manifest.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>
#include <unordered_set>

#include "core/atomic_file.h"
#include "core/cancel.h"

namespace tessera {
namespace {

nlohmann::ordered_json line_of(const ManifestEntry& entry) {
  nlohmann::ordered_json line = {
      {"id", entry.id},
      {"status", entry.status},
      {"output", entry.output},
      {"hash", entry.hash},
      {"sha256", entry.sha256},
      {"seconds", {{"text", entry.text_seconds}, {"denoise", entry.denoise_seconds}, {"decode", entry.decode_seconds}}},
      {"recipe", entry.recipe}};
  if (entry.samples > 1) line["samples"] = entry.samples;
  if (!entry.metadata.empty()) line["metadata"] = entry.metadata;
  if (entry.step_cache.reused > 0) line["step_cache"] = to_json(entry.step_cache);
  if (entry.normalizers.near_zero > 0) line["normalizers"] = to_json(entry.normalizers);
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

}  // namespace

void ManifestEntry::add(const DenoiseResult& result) {
  const StepCacheReport& cache = result.step_cache;
  const int64_t reused = step_cache.reused + cache.reused;
  if (reused > 0)
    step_cache.mean_change = (step_cache.mean_change * static_cast<double>(step_cache.reused) +
                              cache.mean_change * static_cast<double>(cache.reused)) /
                             static_cast<double>(reused);
  step_cache.largest_change = std::max(step_cache.largest_change, cache.largest_change);
  step_cache.calls += cache.calls;
  step_cache.reused = reused;
  normalizers.values += result.normalizers.values;
  normalizers.near_zero += result.normalizers.near_zero;
  normalizers.negative += result.normalizers.negative;
}

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
  for_each_manifest_line(path_, [this](const ManifestLine& line) {
    if (!line.complete) {
      repaired_ = true;
      return;
    }
    whole_ += static_cast<off_t>(line.text.size()) + 1;
    remember(line);
  });
}

void Manifest::remember(const ManifestLine& line) {
  try {
    ManifestEntry entry = from_json(line.entry);
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
  write(line_of(entry).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  ManifestEntry kept = entry;
  kept.recipe = nullptr;
  kept.metadata = nullptr;
  entries_.insert_or_assign(kept.id, std::move(kept));
}

bool Manifest::merge(const std::filesystem::path& shard, std::chrono::milliseconds patience) {
  const int other = open(shard.c_str(), O_RDWR | O_CLOEXEC);
  if (other < 0) throw write_error(shard, errno);
  const std::unique_ptr<const int, void (*)(const int*)> closing(&other, [](const int* held) { close(*held); });
  if (!lock(other, patience)) return false;
  std::unordered_set<std::string> here;
  for_each_manifest_line(path_, [&](ManifestLine line) { here.insert(std::move(line.text)); });
  std::string missing;
  for_each_manifest_line(shard, [&](const ManifestLine& line) {
    if (!line.complete || here.count(line.text)) return;
    missing += line.text + "\n";
    remember(line);
  });
  write(missing);
  std::filesystem::remove(shard);
  return true;
}

const ManifestEntry* Manifest::find(const std::string& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

}  // namespace tessera
