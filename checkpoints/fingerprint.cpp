#include "checkpoints/fingerprint.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "checkpoints/bundled_model.h"
#include "checkpoints/hub_cache.h"
#include "core/sha256.h"
#include "core/visible_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPiece = 4096;

/// Adds one file's name, size and pieces.
void add_file(Sha256& hash, const fs::path& path, const std::string& name) {
  const auto size = static_cast<int64_t>(fs::file_size(path));
  hash.update(name + " " + std::to_string(size) + "\n");
  std::ifstream in(path, std::ios::binary);
  std::string piece(kPiece, '\0');
  for (const int64_t start : {int64_t{0}, (size - kPiece) / 2, size - kPiece}) {
    in.clear();
    in.seekg(std::max<int64_t>(0, start));
    in.read(piece.data(), kPiece);
    hash.update(std::string_view(piece).substr(0, static_cast<size_t>(in.gcount())));
  }
}

void add_model(Sha256& hash, const fs::path& model) {
  if (!fs::is_directory(model)) return add_file(hash, model, "");
  std::vector<std::string> files;
  for (const fs::path& file : visible_files(model)) files.push_back(file.string());
  std::sort(files.begin(), files.end());  // as text, in which fingerprints of earlier versions have them
  for (const std::string& file : files) add_file(hash, model / file, file);
}

}  // namespace

std::string model_fingerprint(const Job& job) {
  std::error_code failed;
  const fs::path model = job.model.empty() ? find_bundled_model() : resolve_hub_cache(job.model);
  if (!fs::exists(model, failed)) return "";
  Sha256 hash;
  add_model(hash, model);
  if (job.vae && fs::exists(*job.vae, failed)) add_model(hash, *job.vae);
  return hash.hex();
}

std::string component_fingerprint(const Component& part) {
  Sha256 hash;
  hash.update(part.config().json().dump());
  for (const fs::path& file : part.files.empty() ? weight_files(part) : part.files)
    add_file(hash, file, file.filename().string());
  return hash.hex();
}

}  // namespace tessera
