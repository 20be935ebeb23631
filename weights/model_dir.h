#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "weights/packed_write.h"
#include "weights/safetensors.h"

namespace tessera {

/// One part of a model: in a pipeline directory, a folder with a config and, for networks, weights. In other layouts
/// (see checkpoints/model_layout.h) it names its files and carries its config.
struct Component {
  std::string name;        ///< folder name and key of model_index.json, e.g. "transformer"
  std::string library;     ///< "diffusers" or "transformers": decides the names of its files
  std::string class_name;  ///< e.g. "WanTransformer3DModel"
  std::filesystem::path folder;
  std::vector<std::filesystem::path> files = {};  ///< its weights; empty: those with diffusers' names in `folder`
  std::optional<JsonConfig> settings = {};        ///< its config in `library`'s keys; empty: the file in `folder`

  /// `settings`, or else whichever of config.json, scheduler_config.json and tokenizer_config.json the folder holds.
  /// Throws Error naming the folder when it holds none, or when the config names a class other than `class_name`.
  JsonConfig config() const;
  /// The path of a file in the folder, e.g. "spiece.model". Throws Error naming it when it is not there.
  std::filesystem::path file(const std::string& file_name) const;
};

/// A pipeline directory in diffusers' layout. Its folders exist; their contents are read on request.
struct ModelDir {
  std::filesystem::path path;
  std::string class_name;  ///< of the pipeline, e.g. "WanPipeline"
  JsonConfig index;        ///< model_index.json, with the pipeline's own options
  std::vector<Component> components;

  /// nullptr when the pipeline has no such part.
  const Component* find(const std::string& name) const;
  /// Throws Error naming model_index.json and the parts it lists.
  const Component& component(const std::string& name) const;
};

/// Whether a part has weights: it is no scheduler, no tokenizer and no processor of pictures.
bool is_network(const Component& component);

/// Opens a pipeline directory. Throws Error when there is no such folder, when it has no model_index.json (saying what
/// it holds instead), when that file is malformed, or when a folder it lists is missing.
ModelDir open_model_dir(const std::filesystem::path& path);

/// The same, whether or not the folders of its parts exist.
ModelDir list_model_dir(const std::filesystem::path& path);

/// The files that read_weights reads, an index before its shards, whether or not they exist. Throws Error when the
/// folder has no weights, or several variants and none without a variant.
std::vector<std::filesystem::path> weight_files(const Component& component);

/// The files that a part needs and lacks, one sentence each: config, weights or each missing shard, spiece.model of a
/// tokenizer. No weights are read.
std::vector<std::string> missing_files(const Component& component);

/// Opens a single component folder; name, library and class come from the folder and its config.json
/// (`_class_name` of diffusers, `architectures` of transformers).
Component open_component(const std::filesystem::path& folder);

/// The tensors of one file, mapped: safetensors, or, judging by its content, an archive of torch.save (see
/// read_torch_archive) or a GGUF file (read_gguf). Weights with scales are packed: see with_scales.
TensorFile read_tensors(const std::filesystem::path& path);

/// The component's tensors, mapped: its `files`, or a single file or the shards of an index, named
/// diffusion_pytorch_model or model.
/// .safetensors take precedence over .bin (pytorch_model.bin), and that over a single .gguf file of any name; files
/// without a variant (single before index) over the one variant present of fp32, bf16, fp16.
/// Throws Error when there are no weights (saying what is there), several variants and none without a variant, a
/// shard that is missing, damaged or lacks a tensor listed in the index, or a tensor that is in two shards.
TensorFile read_weights(const Component& component);

/// Writes the component's folder: weights first, then config.json with the class name added; each file atomically.
/// Floating-point tensors are converted to `dtype` when it is given. Weights of more than `largest_file` bytes
/// (diffusers' limit) are split into shards with an index. With a plan, weights are written by write_packed, in one
/// file.
void write_component(const Component& component, nlohmann::json config,
                     const std::map<std::string, at::Tensor>& tensors,
                     const std::map<std::string, std::string>& metadata = {},
                     std::optional<at::ScalarType> dtype = std::nullopt, int64_t largest_file = 10'000'000'000,
                     const PackingPlan& plan = {});

/// Writes model_index.json of a pipeline, atomically, to the folder `path`, which is created if needed. `options`
/// are further keys.
void write_model_index(const std::filesystem::path& path, const std::string& pipeline_class,
                       const std::vector<Component>& components,
                       const nlohmann::json& options = nlohmann::json::object());

}  // namespace tessera
