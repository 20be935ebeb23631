#include "weights/model_dir.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "weights/foreign_file.h"
#include "weights/gguf.h"
#include "weights/scaled_weights.h"
#include "weights/shown.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kIndexName = "model_index.json";
constexpr const char* kConfigNames[] = {"config.json", "scheduler_config.json", "tokenizer_config.json"};
constexpr const char* kStems[] = {"diffusion_pytorch_model", "model"};             // of .safetensors
constexpr const char* kOldStems[] = {"diffusion_pytorch_model", "pytorch_model"};  // of .bin
constexpr const char* kVariants[] = {"fp32", "bf16", "fp16"};

/// True for a name that cannot lead out of its folder and can be shown in a message.
bool is_plain_name(const std::string& name) {
  constexpr size_t kLongest = 255;  // of a file's name
  return !name.empty() && name.size() <= kLongest && name != "." && name != ".." &&
         name.find('/') == std::string::npos &&
         std::none_of(name.begin(), name.end(), [](unsigned char letter) { return letter < ' ' || letter == 127; });
}

/// "it holds a, b, c and 3 more" or "it is empty", sorted.
std::string holdings(const fs::path& folder) {
  constexpr size_t kMostShown = 6;
  std::vector<std::string> names;
  std::error_code problem;
  for (auto entry = fs::directory_iterator(folder, problem); !problem && entry != fs::directory_iterator();
       entry.increment(problem))
    names.push_back(entry->path().filename().string() + (is_folder(entry->path()) ? "/" : ""));
  if (problem) return "it cannot be listed: " + problem.message();
  if (names.empty()) return "it is empty";
  std::sort(names.begin(), names.end());
  const size_t hidden = names.size() - std::min(names.size(), kMostShown);
  names.resize(names.size() - hidden);
  return "it holds " + joined(names) + (hidden > 0 ? " and " + std::to_string(hidden) + " more" : "");
}

/// The class that a config.json names, "" when it names none.
std::string class_in(const JsonConfig& config) {
  if (config.has("_class_name")) {
    if (!is_plain_name(config.text("_class_name"))) config.fail("_class_name", "must be the name of a class");
    return config.text("_class_name");
  }
  if (!config.has("architectures")) return "";
  const json& names = config.json().at("architectures");
  if (!names.is_array() || names.empty() || !names[0].is_string() || !is_plain_name(names[0].get<std::string>()))
    config.fail("architectures", "must be a list with a class name");
  return names[0].get<std::string>();
}

/// What a folder without model_index.json may be, and what to do about it.
std::string wrong_folder_hint(const fs::path& path) {
  fs::path parent = (path / "..").lexically_normal();
  if (!parent.has_filename() && parent.has_relative_path()) parent = parent.parent_path();
  if (is_file(path / "Wan2.1_VAE.pth") || is_file(path / "models_t5_umt5-xxl-enc-bf16.pth"))
    return " It looks like Wan's original release: use the release whose name ends in -Diffusers.";
  if (!is_file(path / "config.json")) return "";
  if (is_file(parent / kIndexName))
    return " It is one component of a model: use the folder above it, " + parent.string() + ".";
  return " It looks like a single component: use the folder that holds transformer/, vae/ and the others.";
}

void check_model_folder(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw Error(
        "no such model: " + path.string() +
        "; want a folder that holds model_index.json (models on the Hugging Face hub must be downloaded first)");
  if (!is_folder(path))
    throw Error(path.string() + " is a file; want a model folder that holds model_index.json, transformer/, vae/, ...");
  if (!is_file(path / kIndexName))
    throw Error(path.string() + " has no model_index.json, so it is not a model folder (" + holdings(path) + ")." +
                wrong_folder_hint(path));
}

/// The components that model_index.json lists as [library, class]; its other entries are options of the pipeline.
std::vector<Component> listed_components(const fs::path& path, const JsonConfig& index) {
  std::vector<Component> components;
  for (const auto& [name, value] : index.json().items()) {
    if (name.starts_with("_") || !value.is_array() || value.size() != 2) continue;
    if (value[0].is_null() && value[1].is_null()) continue;
    if (!value[0].is_string() && !value[1].is_string()) continue;
    if (!value[0].is_string() || !value[1].is_string()) index.fail(name, "must be [library, class]");
    if (!is_plain_name(value[0].get<std::string>()) || !is_plain_name(value[1].get<std::string>()))
      index.fail(name, "must be the names of a library and a class");
    if (!is_plain_name(name)) index.fail(name, "must be the name of a folder");
    components.push_back({.name = name,
                          .library = value[0].get<std::string>(),
                          .class_name = value[1].get<std::string>(),
                          .folder = path / name});
  }
  return components;
}

struct WeightFiles {
  fs::path path;
  bool sharded;
};

/// The single file or index of one variant ("" for none), if the folder has it.
std::vector<WeightFiles> files_of_variant(const fs::path& folder, bool safetensors, const std::string& variant) {
  const std::string dotted = variant.empty() ? "" : "." + variant;
  const std::string extension = safetensors ? ".safetensors" : ".bin";
  std::vector<WeightFiles> found;
  for (const std::string stem : safetensors ? kStems : kOldStems) {
    const fs::path single = folder / (stem + dotted + extension);
    const fs::path index = folder / (stem + extension + ".index" + dotted + ".json");
    if (is_file(single)) found.push_back({single, false});
    if (is_file(index)) found.push_back({index, true});
  }
  return found;
}

/// The weights of one file format, if the folder has any.
std::optional<WeightFiles> find_weights(const fs::path& folder, bool safetensors) {
  const auto plain = files_of_variant(folder, safetensors, "");
  if (!plain.empty()) return plain.front();
  std::vector<WeightFiles> variants;
  for (const std::string variant : kVariants) {
    const auto found = files_of_variant(folder, safetensors, variant);
    if (!found.empty()) variants.push_back(found.front());
  }
  if (variants.empty()) return std::nullopt;
  if (variants.size() == 1) return variants.front();
  throw Error(folder.string() + " has several variants of the weights, " + variants[0].path.filename().string() +
              " and " + variants[1].path.filename().string() + ": keep one, or rename one to have no variant");
}

/// The one GGUF file of a folder, whatever its name: programs name them by model and type.
std::optional<WeightFiles> find_gguf(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code problem;
  for (auto entry = fs::directory_iterator(folder, problem); !problem && entry != fs::directory_iterator();
       entry.increment(problem))
    if (entry->path().extension() == ".gguf" && is_file(entry->path())) found.push_back(entry->path());
  if (found.empty()) return std::nullopt;
  std::sort(found.begin(), found.end());
  if (found.size() == 1) return WeightFiles{found.front(), false};
  throw Error(folder.string() + " has several GGUF files, " + found[0].filename().string() + " and " +
              found[1].filename().string() + ": keep one");
}

WeightFiles find_weights(const fs::path& folder) {
  for (const bool safetensors : {true, false})
    if (const auto found = find_weights(folder, safetensors)) return *found;
  if (const auto found = find_gguf(folder)) return *found;
  const std::string other = foreign_holdings(folder);
  throw Error(folder.string() + " has no weights: want diffusion_pytorch_model.safetensors, model.safetensors, the " +
              "same as .bin (pytorch_model.bin), their .index.json, or one .gguf file (" + holdings(folder) + ")" +
              (other.empty() ? "" : "; " + other));
}

/// Shard file name -> the tensors that the index lists in it.
std::map<std::string, std::vector<std::string>> listed_tensors(const JsonConfig& index) {
  std::map<std::string, std::vector<std::string>> listed;
  const JsonConfig map = index.object("weight_map");
  for (const auto& [tensor, shard] : map.json().items()) {
    if (!shard.is_string() || !is_plain_name(shard.get<std::string>()))
      map.fail(tensor, "must be the name of a shard beside the index");
    listed[shard.get<std::string>()].push_back(tensor);
  }
  if (listed.empty()) index.fail("weight_map", "must name at least one tensor");
  return listed;
}

/// The tensors of one file as they are stored: scales by themselves.
TensorFile read_stored(const fs::path& path) {
  if (is_gguf(path)) return read_gguf(path);
  return is_torch_archive(path) ? read_torch_archive(path) : read_safetensors(path);
}

/// Adds the header strings of one file of several. Of what layers are quantized each may tell its part.
void merge_metadata(std::map<std::string, std::string>& all, const std::map<std::string, std::string>& more) {
  for (const auto& [key, text] : more) {
    const auto [place, fresh] = all.emplace(key, text);
    if (fresh || place->second == text) continue;
    json first = json::parse(place->second, nullptr, false), second = json::parse(text, nullptr, false);
    if (!first.is_object() || !second.is_object()) continue;
    first.merge_patch(second);
    place->second = first.dump();
  }
}

TensorFile read_shards(const fs::path& index_path) {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> holders, metadata;
  for (const auto& [shard, listed] : listed_tensors(JsonConfig::read(index_path))) {
    const fs::path path = index_path.parent_path() / shard;
    if (!is_file(path))
      throw Error("missing shard " + path.string() + ": " + index_path.string() + " expects " +
                  counted(static_cast<int64_t>(listed.size()), "tensor") + " in it, such as " + plain(listed.front()) +
                  "; download the model again");
    const TensorFile file = read_stored(path);
    merge_metadata(metadata, file.metadata());
    for (const auto& name : listed)
      if (!file.find(name))
        throw Error(path.string() + " has no tensor " + plain(name) + ", which " + index_path.string() +
                    " expects in it; download the model again");
    for (const auto& [name, tensor] : file.tensors()) {
      const auto [holder, fresh] = holders.emplace(name, shard);
      if (!fresh)
        throw Error(index_path.string() + ": tensor " + plain(name) + " is in two shards, " + holder->second + " and " +
                    shard);
      tensors.emplace(name, tensor);
    }
  }
  return with_scales({std::move(tensors), index_path.string(), std::move(metadata)});
}

TensorFile read_files(const std::vector<fs::path>& files) {
  if (files.size() == 1) return read_tensors(files.front());
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
  for (const fs::path& path : files) {
    const TensorFile file = read_stored(path);
    merge_metadata(metadata, file.metadata());
    for (const auto& [name, tensor] : file.tensors())
      if (!tensors.emplace(name, tensor).second)
        throw Error(path.string() + ": tensor " + plain(name) + " is also in another file of " +
                    files.front().string());
  }
  const std::string where = files.front().string() + " and " + std::to_string(files.size() - 1) + " more";
  return with_scales({std::move(tensors), where, std::move(metadata)});
}

std::string indented(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::strict) + "\n";
}

void make_folder(const fs::path& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem || !is_folder(folder))
    throw write_error(folder, problem ? problem.value() : static_cast<int>(std::errc::not_a_directory));
}

int64_t stored_bytes(const at::Tensor& tensor, std::optional<at::ScalarType> dtype) {
  const at::ScalarType stored = dtype && tensor.is_floating_point() ? *dtype : tensor.scalar_type();
  return tensor.numel() * static_cast<int64_t>(c10::elementSize(stored));
}

/// One file, or shards in the order of the names, each as full as possible, and their index.
void write_weights(const fs::path& stem, const std::map<std::string, at::Tensor>& tensors,
                   const std::map<std::string, std::string>& metadata, std::optional<at::ScalarType> dtype,
                   int64_t largest_file) {
  std::vector<std::map<std::string, at::Tensor>> shards(1);
  int64_t total = 0, filled = 0;
  for (const auto& [name, tensor] : tensors) {
    const int64_t bytes = stored_bytes(tensor, dtype);
    if (filled > 0 && filled + bytes > largest_file) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().emplace(name, tensor);
    filled += bytes;
    total += bytes;
  }
  if (shards.size() == 1) return write_safetensors(stem.string() + ".safetensors", tensors, metadata, dtype);
  json map = json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    char number[32];
    std::snprintf(number, sizeof number, "-%05zu-of-%05zu", i + 1, shards.size());
    const fs::path path = stem.string() + number + ".safetensors";
    write_safetensors(path, shards[i], metadata, dtype);
    for (const auto& [name, tensor] : shards[i]) map[name] = path.filename().string();
  }
  const json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file_atomically(stem.string() + ".safetensors.index.json", indented(index));
}

}  // namespace

JsonConfig Component::config() const {
  if (settings) return *settings;
  for (const std::string name_of_config : kConfigNames) {
    const fs::path path = folder / name_of_config;
    if (!is_file(path)) continue;
    JsonConfig read = JsonConfig::read(path);
    const std::string found = name_of_config == "tokenizer_config.json" ? "" : class_in(read);
    if (!found.empty() && found != class_name)
      throw Error(path.string() + " describes a " + found + ", but the model lists " + name + " as a " + class_name);
    return read;
  }
  throw Error(folder.string() + " has no config.json (" + holdings(folder) + ")");
}

fs::path Component::file(const std::string& file_name) const {
  const fs::path path = folder / file_name;
  if (!is_file(path)) throw Error("missing " + path.string() + " (" + folder.string() + ": " + holdings(folder) + ")");
  return path;
}

const Component* ModelDir::find(const std::string& name) const {
  const auto found =
      std::find_if(components.begin(), components.end(), [&](const Component& part) { return part.name == name; });
  return found == components.end() ? nullptr : &*found;
}

const Component& ModelDir::component(const std::string& name) const {
  if (const Component* found = find(name)) return *found;
  const std::string listed = joined(components, ", ", [](const Component& part) { return part.name; });
  throw Error(index.where() + " lists no " + name + " (it lists " + (listed.empty() ? "no component" : listed) + ")");
}

ModelDir list_model_dir(const fs::path& path) {
  check_model_folder(path);
  ModelDir model{path, "", JsonConfig::read(path / kIndexName), {}};
  model.class_name = class_in(model.index);
  if (model.class_name.empty()) model.index.fail("_class_name", "is required");
  model.components = listed_components(path, model.index);
  return model;
}

std::vector<fs::path> weight_files(const Component& component) {
  if (!component.files.empty()) return component.files;
  const WeightFiles found = find_weights(component.folder);
  std::vector<fs::path> files = {found.path};
  if (!found.sharded) return files;
  for (const auto& [shard, listed] : listed_tensors(JsonConfig::read(found.path)))
    files.push_back(component.folder / shard);
  return files;
}

bool is_network(const Component& component) {
  const std::string& kind = component.class_name;
  return component.name != "scheduler" && !component.name.starts_with("tokenizer") && !kind.ends_with("Processor") &&
         !kind.ends_with("Extractor");
}

std::vector<std::string> missing_files(const Component& component) {
  const fs::path& folder = component.folder;
  if (!is_folder(folder)) return {"missing folder " + folder.string() + " (" + component.class_name + ")"};
  std::vector<std::string> missing;
  const auto want = [&](const fs::path& path) {
    if (!is_file(path)) missing.push_back("missing " + path.string());
  };
  if (component.name == "scheduler") {
    if (!component.settings) want(folder / "scheduler_config.json");
    return missing;
  }
  if (component.name.starts_with("tokenizer")) {
    want(folder / "spiece.model");
    return missing;
  }
  if (!is_network(component)) return missing;
  if (!component.settings) want(folder / "config.json");
  for (const fs::path& path : component.files) want(path);
  if (!component.files.empty()) return missing;
  try {
    const WeightFiles files = find_weights(folder);
    if (!files.sharded) return missing;
    for (const auto& [shard, listed] : listed_tensors(JsonConfig::read(files.path)))
      if (!is_file(folder / shard))
        missing.push_back("missing shard " + (folder / shard).string() + " (" +
                          counted(static_cast<int64_t>(listed.size()), "tensor") + ")");
  } catch (const Error& e) {
    missing.emplace_back(e.what());
  }
  return missing;
}

ModelDir open_model_dir(const fs::path& path) {
  ModelDir model = list_model_dir(path);
  for (const auto& part : model.components)
    if (!is_folder(part.folder))
      throw Error("missing folder " + part.folder.string() + ": " + model.index.where() + " lists " + part.name + " (" +
                  part.class_name + "), but " + path.string() + " does not have it (" + holdings(path) + ")");
  return model;
}

Component open_component(const fs::path& folder) {
  if (!is_folder(folder)) throw Error("no such folder: " + folder.string() + "; want one that holds a config.json");
  if (!is_file(folder / "config.json")) throw Error(folder.string() + " has no config.json (" + holdings(folder) + ")");
  const JsonConfig config = JsonConfig::read(folder / "config.json");
  const std::string class_name = class_in(config);
  if (class_name.empty()) config.fail("_class_name", "is required (or \"architectures\")");
  const fs::path named = folder.has_filename() ? folder : folder.parent_path();
  return {named.filename().string(), config.has("_class_name") ? "diffusers" : "transformers", class_name, folder};
}

TensorFile read_tensors(const fs::path& path) {
  return with_scales(read_stored(path));
}

TensorFile read_weights(const Component& component) {
  if (!component.files.empty()) return read_files(component.files);
  const WeightFiles files = find_weights(component.folder);
  return files.sharded ? read_shards(files.path) : read_tensors(files.path);
}

void write_component(const Component& component, json config, const std::map<std::string, at::Tensor>& tensors,
                     const std::map<std::string, std::string>& metadata, std::optional<at::ScalarType> dtype,
                     int64_t largest_file, const PackingPlan& plan) {
  TORCH_CHECK(component.library == "diffusers" || component.library == "transformers", "unknown library ",
              component.library);
  const bool diffusers = component.library == "diffusers";
  make_folder(component.folder);
  const fs::path stem = component.folder / kStems[diffusers ? 0 : 1];
  if (plan.empty())
    write_weights(stem, tensors, metadata, dtype, largest_file);
  else
    write_packed(stem, component.class_name, tensors, plan, metadata, dtype);
  if (diffusers)
    config["_class_name"] = component.class_name;
  else
    config["architectures"] = {component.class_name};
  write_file_atomically(component.folder / "config.json", indented(config));
}

void write_model_index(const fs::path& path, const std::string& pipeline_class,
                       const std::vector<Component>& components, const json& options) {
  json index = options;
  index["_class_name"] = pipeline_class;
  for (const auto& part : components) index[part.name] = {part.library, part.class_name};
  make_folder(path);
  write_file_atomically(path / kIndexName, indented(index));
}

}  // namespace tessera
