#include "training/export.h"

#include <ATen/ATen.h>

#include "core/atomic_file.h"
#include "core/error.h"
#include "weights/safetensors.h"

namespace tessera {

void make_folder(const std::filesystem::path& folder) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw Error(folder.string() + ": cannot make this folder: " + problem.message());
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  write_file_atomically(path, value.dump(2) + "\n");
}

void write_component(const std::filesystem::path& folder, const nlohmann::json& config, const ParamList& params,
                     const std::string& weights_name) {
  make_folder(folder);
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : params) tensors[param.name] = param.slot->detach().to(at::kBFloat16);
  write_json(folder / "config.json", config);
  write_safetensors(folder / weights_name, tensors, {{"format", "pt"}});
}

}  // namespace tessera
