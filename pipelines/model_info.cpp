#include "pipelines/model_info.h"

#include <cstdio>

#include "core/error.h"
#include "pipelines/recipe.h"
#include "pipelines/wan_model.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string size_in_bytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double size = static_cast<double>(bytes);
  size_t unit = 0;
  for (; size >= 1000 && unit < 4; ++unit) size /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", size, kUnits[unit]);
  return text;
}

PartInfo read_part(const Component& component) {
  PartInfo part{component.name, component.class_name, 0, 0, {}};
  bool has_weights = false;
  for (const auto& entry : fs::directory_iterator(component.folder)) {
    if (!entry.is_regular_file()) continue;
    part.bytes += static_cast<int64_t>(entry.file_size());
    has_weights = has_weights || entry.path().extension() == ".safetensors";
  }
  if (!has_weights) return part;
  const TensorFile file = read_weights(component);
  for (const auto& [name, tensor] : file.tensors()) {
    part.parameters += tensor.numel();
    part.dtypes[dtype_name(tensor.scalar_type())] += tensor.numel();
  }
  return part;
}

std::string mhla_text(const AttentionConfig& config) {
  const auto [frames, rows, columns] = config.block_layout;
  constexpr const char* kNormalizers[] = {"products", "sums", "none"};
  return c10::str("block layout ", frames, "x", rows, "x", columns, " (", frames * rows * columns,
                  " blocks), normaliser ", kNormalizers[static_cast<size_t>(config.normalizer)],
                  config.gated ? ", gated" : "", config.lepe ? ", LePE" : "");
}

void describe_attention(const WanTransformerConfig& config, ModelInfo& info) {
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const bool mhla = config.attention.kind_of_layer(layer) == AttentionKind::kMhla;
    info.attention.push_back(mhla ? "mhla" : "softmax");
    if (mhla && info.mhla.empty()) info.mhla = mhla_text(config.attention);
  }
}

/// "layers 0-3 mhla, 4 softmax, 5-7 mhla".
std::string layer_runs(const std::vector<std::string>& kinds) {
  std::string text;
  for (size_t begin = 0; begin < kinds.size();) {
    size_t end = begin;
    while (end < kinds.size() && kinds[end] == kinds[begin]) ++end;
    text += (text.empty() ? "" : ", ") + std::to_string(begin) +
            (end - begin > 1 ? "-" + std::to_string(end - 1) : "") + " " + kinds[begin];
    begin = end;
  }
  return text;
}

std::string defaults_text(const Job& job) {
  return c10::str(*job.width, "x", *job.height, ", ", *job.frames, " frames, ", *job.fps, " fps, ", *job.steps,
                  " steps, sampler ", *job.sampler, ", guidance ", *job.cfg_scale, ", flow shift ",
                  job.flow_shift ? c10::str(*job.flow_shift) : "dynamic", ", ", *job.max_sequence_length,
                  " prompt tokens");
}

}  // namespace

ModelInfo read_model_info(const fs::path& path) {
  const ModelDir folder = open_model_dir(path);
  ModelInfo info{path, folder.class_name, {}, "", {}, "", std::nullopt};
  for (const auto& component : folder.components) info.parts.push_back(read_part(component));
  try {
    const WanModel model = open_wan_model(path);
    describe_attention(model.transformer, info);
    info.defaults = model_defaults(model);
  } catch (const Error& e) {
    info.obstacle = e.what();
  }
  return info;
}

nlohmann::ordered_json to_json(const ModelInfo& info) {
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (const auto& part : info.parts)
    parts.push_back({{"name", part.name},
                     {"class", part.class_name},
                     {"parameters", part.parameters},
                     {"dtypes", part.dtypes},
                     {"bytes", part.bytes}});
  nlohmann::ordered_json out = {{"model", info.path.string()}, {"class", info.class_name}, {"parts", parts}};
  out["supported"] = info.obstacle.empty();
  if (!info.obstacle.empty()) out["obstacle"] = info.obstacle;
  out["attention"] = info.attention;
  if (!info.mhla.empty()) out["mhla"] = info.mhla;
  if (info.defaults)
    for (const auto& option : job_options())
      if (is_model_default(option)) out["defaults"][json_key(option)] = recipe_json(*info.defaults)[json_key(option)];
  return out;
}

std::string to_text(const ModelInfo& info) {
  std::string out = info.path.string() + ": " + info.class_name + "\n\n";
  int64_t parameters = 0, bytes = 0;
  char line[256];
  for (const auto& part : info.parts) {
    std::string stored;
    for (const auto& [dtype, count] : part.dtypes) stored += (stored.empty() ? "" : "+") + dtype;
    std::snprintf(line, sizeof line, "  %-14s %-30s %15s  %-10s %9s\n", part.name.c_str(), part.class_name.c_str(),
                  part.parameters ? grouped(part.parameters).c_str() : "-", stored.c_str(),
                  size_in_bytes(part.bytes).c_str());
    out += line;
    parameters += part.parameters;
    bytes += part.bytes;
  }
  std::snprintf(line, sizeof line, "  %-14s %-30s %15s  %-10s %9s\n", "total", "parameters, size of the files",
                grouped(parameters).c_str(), "", size_in_bytes(bytes).c_str());
  out += line;
  if (!info.attention.empty()) out += "\n  attention  layers " + layer_runs(info.attention) + "\n";
  if (!info.mhla.empty()) out += "  mhla       " + info.mhla + "\n";
  if (info.defaults) out += "  defaults   " + defaults_text(*info.defaults) + "\n";
  if (!info.obstacle.empty()) out += "\n  cannot run: " + info.obstacle + "\n";
  return out;
}

}  // namespace tessera
