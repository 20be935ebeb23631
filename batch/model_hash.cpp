#include "batch/model_hash.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/sha256.h"
#include "core/visible_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVariable = "TESSERA_MODEL_HASH";  // "STAMP HASH"

struct NamedFile {
  std::string name;  // relative to the model or to the part
  fs::path path;
};

std::vector<NamedFile> files_below(const fs::path& folder) {
  std::vector<NamedFile> files;
  for (const fs::path& file : visible_files(folder)) files.push_back({file.string(), folder / file});
  return files;
}

/// Whether `path` is the model's own path or visible inside it.
bool is_visible_inside(const fs::path& path, const fs::path& model) {
  const auto normal = [](const fs::path& any) { return fs::absolute(any).lexically_normal(); };
  const fs::path inside = normal(path).lexically_relative(normal(model));
  const auto hidden = [](const fs::path& part) { return part.native().starts_with('.'); };  // or ".."
  return inside == "." || std::none_of(inside.begin(), inside.end(), hidden);
}

/// The files of a part that lie outside of the model's own path.
std::vector<NamedFile> files_elsewhere(const Component& part, const fs::path& model) {
  std::vector<NamedFile> files;
  for (const fs::path& file : part.files)
    if (!is_visible_inside(file, model)) files.push_back({file.filename().string(), file});
  const bool whole_folder = part.files.empty() && !part.settings;
  return whole_folder && !is_visible_inside(part.folder, model) ? files_below(part.folder) : files;
}

/// Everything that the model reads.
struct ModelFiles {
  explicit ModelFiles(const ModelDir& model) : in_one_file(fs::is_regular_file(model.path)) {
    own = in_one_file ? std::vector<NamedFile>{{"", model.path}} : files_below(model.path);
    for (const Component& part : model.components) {
      for (NamedFile& file : files_elsewhere(part, model.path)) {
        file.name.insert(0, part.name + "/");
        elsewhere.push_back(std::move(file));
      }
      if (part.settings) configs += part.name + " " + part.settings->json().dump() + "\n";
    }
  }

  bool in_one_file;
  std::vector<NamedFile> own, elsewhere;
  std::string configs;  // those that the program derived from several files, some of which may lie elsewhere
};

void add(Sha256& hash, const NamedFile& file) {
  hash.update(file.name + " " + std::to_string(fs::file_size(file.path)) + "\n");
  hash.update_file(file.path);
}

std::string hash_of(const ModelFiles& files) {
  Sha256 own;
  for (const NamedFile& file : files.own) files.in_one_file ? own.update_file(file.path) : add(own, file);
  if (files.elsewhere.empty() && (files.configs.empty() || files.in_one_file)) return own.hex();
  Sha256 whole;
  whole.update(own.hex() + "\n" + files.configs);
  for (const NamedFile& file : files.elsewhere) add(whole, file);
  return whole.hex();
}

std::string stamp_of(const ModelFiles& files) {
  Sha256 stamp;
  stamp.update(files.configs);
  for (const auto* list : {&files.own, &files.elsewhere})
    for (const NamedFile& file : *list) {
      struct stat state = {};
      if (stat(file.path.c_str(), &state) != 0)
        throw Error("cannot read " + file.path.string() + ": " + std::strerror(errno));
      const auto nanoseconds = [](const timespec& time) {
        return std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
      };
      stamp.update(fs::absolute(file.path).string() + " " + std::to_string(state.st_dev) + " " +
                   std::to_string(state.st_ino) + " " + std::to_string(state.st_size) + " " +
                   nanoseconds(state.st_mtim) + " " + nanoseconds(state.st_ctim) + "\n");
    }
  return stamp.hex();
}

}  // namespace

ModelHash hash_model(const ModelDir& model, const Variables& variables) {
  const ModelFiles files(model);
  const std::string stamp = stamp_of(files);  // before the content is read: a change meanwhile is noticed
  const auto known = variables.find(kVariable);
  if (known != variables.end() && known->second.starts_with(stamp + " "))
    return {.hash = known->second.substr(stamp.size() + 1), .stamp = stamp};
  return {.hash = hash_of(files), .stamp = stamp};
}

Variables pass_on(const ModelHash& model) {
  return {{kVariable, model.stamp + " " + model.hash}};
}

}  // namespace tessera
