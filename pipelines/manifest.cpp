#include "pipelines/manifest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "core/atomic_file.h"

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

}  // namespace

Manifest::Manifest(const std::filesystem::path& path) : path_(path) {
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw write_error(path, errno);
  read();
}

Manifest::~Manifest() {
  close(descriptor_);
}

void Manifest::read() {
  std::ifstream in(path_, std::ios::binary);
  std::string line;
  off_t whole = 0;
  while (std::getline(in, line)) {
    if (in.eof()) {
      repaired_ = true;
      if (ftruncate(descriptor_, whole) != 0 || fsync(descriptor_) != 0) throw write_error(path_, errno);
      break;
    }
    whole += static_cast<off_t>(line.size()) + 1;
    try {
      ManifestEntry entry = from_json(nlohmann::json::parse(line));
      entries_.insert_or_assign(entry.id, std::move(entry));
    } catch (const nlohmann::json::exception&) {
      ++unreadable_;
    }
  }
}

void Manifest::append(const ManifestEntry& entry) {
  const std::string line = to_json(entry).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const off_t before = lseek(descriptor_, 0, SEEK_END);
  const auto undo = [&](int error_number) {
    if (ftruncate(descriptor_, before) != 0) return write_error(path_, errno);
    return write_error(path_, error_number);
  };
  for (size_t at = 0; at < line.size();) {
    const ssize_t written = write(descriptor_, line.data() + at, line.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw undo(errno);
    at += static_cast<size_t>(written);
  }
  if (fsync(descriptor_) != 0) throw undo(errno);
  ManifestEntry kept = entry;
  kept.recipe = nullptr;
  entries_.insert_or_assign(kept.id, std::move(kept));
}

const ManifestEntry* Manifest::find(const std::string& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

}  // namespace tessera
