#pragma once

#include <fstream>

#include "tests/support/fixture.h"
#include "weights/model_dir.h"

namespace tessera::test {

/// Rewrites the weights of a part, which lie in one file, as two shards and their index, named as diffusers and
/// transformers name them: model-00001-of-00002.safetensors, or model.bf16-00001-of-00002.safetensors of a variant.
/// Returns the second shard.
inline std::filesystem::path shard(const Component& part, const std::string& variant = "",
                                   std::optional<at::ScalarType> dtype = {}) {
  const std::string stem = part.library == "transformers" ? "model" : "diffusion_pytorch_model";
  const std::string dotted = variant.empty() ? "" : "." + variant;
  const TensorFile whole = read_weights(part);
  std::map<std::string, at::Tensor> shards[2];
  nlohmann::json map = nlohmann::json::object();
  std::filesystem::path paths[2];
  for (const int i : {0, 1})
    paths[i] = part.folder / (stem + dotted + "-0000" + std::to_string(i + 1) + "-of-00002.safetensors");
  for (const auto& [name, tensor] : whole.tensors()) {
    const size_t i = 2 * map.size() >= whole.tensors().size();
    shards[i].emplace(name, tensor);
    map[name] = paths[i].filename();
  }
  for (const int i : {0, 1}) write_safetensors(paths[i], shards[i], {}, dtype);
  std::ofstream(part.folder / (stem + ".safetensors.index" + dotted + ".json"))
      << nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}};
  std::filesystem::remove(part.folder / (stem + ".safetensors"));
  return paths[1];
}

/// Renames the one file of a part's weights to a variant's, converted.
inline void make_variant(const Component& part, const std::string& variant, at::ScalarType dtype) {
  const std::string stem = part.library == "transformers" ? "model" : "diffusion_pytorch_model";
  const TensorFile whole = read_weights(part);
  write_safetensors(part.folder / (stem + "." + variant + ".safetensors"), whole.tensors(), {}, dtype);
  std::filesystem::remove(part.folder / (stem + ".safetensors"));
}

/// A copy of the wan_pipeline fixture's directory that may be changed.
inline ModelDir copy_of_pipeline(const std::filesystem::path& into) {
  namespace fs = std::filesystem;
  fs::copy(fixture_folder() / "wan_pipeline/pipeline", into, fs::copy_options::recursive);
  for (const auto& entry : fs::recursive_directory_iterator(into))
    fs::permissions(entry, fs::perms::owner_write, fs::perm_options::add);
  return open_model_dir(into);
}

}  // namespace tessera::test
