#include "training/export.h"

#include <ATen/ATen.h>

#include "core/atomic_file.h"
#include "core/error.h"

namespace tessera {

void make_folder(const std::filesystem::path& folder) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw Error(folder.string() + ": cannot create this folder: " + problem.message());
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  write_file_atomically(path, value.dump(2) + "\n");
}

void export_component(const Component& component, const nlohmann::json& config, const ParamList& params) {
  make_folder(component.folder);
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : params) tensors[param.name] = param.slot->detach().to(at::kBFloat16);
  write_component(component, config, tensors, {{"format", "pt"}});
}

}  // namespace tessera
