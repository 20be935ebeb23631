#include "checkpoints/lora_info.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "checkpoints/file_info.h"
#include "core/device.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "weights/lora_file.h"
#include "weights/model_dir.h"
#include "weights/shown.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// The layouts by how the names begin; the first that fits any layer.
constexpr const char* kLayouts[][2] = {{"lora_unet_", "kohya or musubi"}, {"lora_te", "kohya"},
                                       {"lora_transformer_", "kohya"},    {"diffusion_model.", "original or ComfyUI"},
                                       {"text_encoders.", "ComfyUI"},     {"base_model.model.", "PEFT"},
                                       {"transformer.", "diffusers"},     {"text_encoder.", "diffusers"}};

/// Header entries that name the model, the best one first.
constexpr const char* kBaseKeys[] = {"base_model_name_or_path", "base_model", "ss_base_model_version",
                                     "ss_sd_model_name", "modelspec.architecture"};

bool is_text_layer(const std::string& name) {
  for (const char* prefix : {"text_encoder", "lora_te", "base_model.model.encoder.", "base_model.model.shared"})
    if (name.starts_with(prefix)) return true;
  return false;
}

/// The name with N for the number behind "blocks." or "block_"; `number` gets it, or -1.
std::string without_number(const std::string& name, int64_t& number) {
  number = -1;
  for (const std::string mark : {"blocks.", "blocks_", "block.", "block_"}) {
    const size_t at = name.find(mark);
    if (at == std::string::npos) continue;
    const size_t begin = at + mark.size();
    const size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
    if (end == begin || end - begin > 6) continue;
    number = std::stoll(name.substr(begin, end - begin));
    return name.substr(0, begin) + "N" + name.substr(end);
  }
  return name;
}

/// What the shapes say: the depth and the width of a Wan transformer.
std::string base_by_shape(const LoraFile& file) {
  int64_t blocks = 0, width = 0;
  bool image = false;
  for (const auto& [name, layer] : file.layers) {
    int64_t number = 0;
    const std::string kind = without_number(name, number);
    if (is_text_layer(name)) continue;
    blocks = std::max(blocks, number + 1);
    image = image || kind.find("_img") != std::string::npos || kind.find("add_k_proj") != std::string::npos;
    const bool query = kind.ends_with("attn1.to_q") || kind.ends_with("attn1_to_q") || kind.ends_with("self_attn.q") ||
                       kind.ends_with("self_attn_q");
    if (query && layer.down.defined()) width = layer.down.numel() / layer.rank();
  }
  if (width == 0) return "";
  const std::string shape =
      "a transformer of width " + std::to_string(width) + " with at least " + counted(blocks, "block");
  const std::string kind = image ? " image to video" : "";
  if (width == 1536 && blocks <= 30) return "Wan 1.3B" + kind + " by its shapes (" + shape + ")";
  if (width == 5120 && blocks <= 40) return "Wan 14B" + kind + " by its shapes (" + shape + ")";
  return shape;
}

std::string base_of(const LoraFile& file) {
  for (const auto* entries : {&file.settings, &file.metadata})
    for (const char* key : kBaseKeys)
      if (const auto found = entries->find(key);
          found != entries->end() && !found->second.empty() && found->second != "None")
        return plain(found->second);
  return base_by_shape(file);
}

void describe(const LoraFile& file, LoraInfo& info) {
  info.base = base_of(file);
  info.unknown = static_cast<int64_t>(file.unknown.size());
  for (const auto& [name, layer] : file.layers) {
    for (const auto& [prefix, layout] : kLayouts)
      if (info.layout.empty() && name.starts_with(prefix)) info.layout = layout;
    int64_t number = 0;
    ++info.layers[without_number(name, number)];
    if (layer.down.defined()) ++info.ranks[layer.rank()];
    if (layer.down.defined()) info.scales.insert(layer.scale);
    info.differences += layer.diff.defined() || layer.diff_bias.defined();
    for (const at::Tensor* tensor : {&layer.down, &layer.up, &layer.up_bias, &layer.diff, &layer.diff_bias})
      if (tensor->defined()) info.dtypes[dtype_name(tensor->scalar_type())] += tensor->numel();
  }
  if (info.layout.empty()) info.layout = "names without a prefix";
}

std::string number_text(double number) {
  return nlohmann::json(number).dump();
}

std::string ranks_text(const LoraInfo& info) {
  if (info.ranks.empty()) return "none (differences only)";
  const std::string ranks = joined(info.ranks, ", ", [](const auto& entry) {
    return std::to_string(entry.first) + " (" + counted(entry.second, "layer") + ")";
  });
  const std::string scales = info.scales.size() > 8
                                 ? number_text(*info.scales.begin()) + " to " + number_text(*info.scales.rbegin())
                                 : joined(info.scales, ", ", number_text);
  return ranks + "; alpha / rank " + scales;
}

}  // namespace

bool LoraInfo::has_text_encoder() const {
  return std::any_of(layers.begin(), layers.end(), [](const auto& entry) { return is_text_layer(entry.first); });
}

std::optional<LoraInfo> read_lora_info(const fs::path& path) {
  const fs::path inside = path / "adapter_model.safetensors";
  const fs::path file = is_folder(path) && is_file(inside) ? inside : path;
  if (!is_file(file) || file.extension() == ".npz") return std::nullopt;
  try {
    if (!holds_lora(read_tensors(file))) return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;  // told by what reads other files
  }
  LoraInfo info;
  info.path = path;
  std::error_code ignored;
  info.bytes = static_cast<int64_t>(fs::file_size(file, ignored));
  try {
    describe(read_lora_file(file, LoraCheck::kHeaders), info);
  } catch (const Error& error) {
    info.refusal = error.what();
  }
  return info;
}

nlohmann::ordered_json to_json(const LoraInfo& info) {
  nlohmann::ordered_json ranks = nlohmann::ordered_json::object();
  for (const auto& [rank, layers] : info.ranks) ranks[std::to_string(rank)] = layers;
  nlohmann::ordered_json out = {{"file", info.path.string()},
                                {"kind", "LoRA"},
                                {"bytes", info.bytes},
                                {"layout", info.layout},
                                {"base", info.base},
                                {"ranks", ranks},
                                {"scales", info.scales},
                                {"layers", info.layers},
                                {"differences", info.differences},
                                {"text_encoder", info.has_text_encoder()},
                                {"dtypes", info.dtypes},
                                {"unknown_tensors", info.unknown}};
  out["supported"] = false;
  out["obstacle"] = "it is a LoRA, which changes a model and is none by itself";
  if (!info.refusal.empty()) out["refusal"] = info.refusal;
  return out;
}

std::string to_text(const LoraInfo& info) {
  std::string out = info.path.string() + ": LoRA, " + size_in_bytes(info.bytes) + "\n\n";
  if (!info.refusal.empty()) return out + "  cannot be used: " + info.refusal + "\n";
  out += "  names      " + info.layout + "\n";
  out += "  base       " + (info.base.empty() ? "not said" : info.base) + "\n";
  out += "  rank       " + ranks_text(info) + "\n";
  out += "  stored as  " +
         joined(info.dtypes, ", ",
                [](const auto& entry) { return entry.first + " (" + grouped(entry.second) + " numbers)"; }) +
         "\n";
  if (info.differences > 0)
    out += "  also       differences (.diff, .diff_b) of " + counted(info.differences, "layer") + "\n";
  if (info.unknown > 0) out += "  unknown    " + counted(info.unknown, "tensor") + " that are no part of a LoRA\n";
  int64_t total = 0;
  for (const auto& [name, count] : info.layers) total += count;
  out += "  layers     " + std::to_string(total) + (info.has_text_encoder() ? ", text encoder included" : "") + "\n";
  for (const auto& [name, count] : info.layers)
    out += "    " + plain(name) + (count > 1 ? " x " + std::to_string(count) : "") + "\n";
  return out + "\nUse it with: tessera generate PROMPT --model MODEL --lora " + info.path.string() + ":1\n";
}

}  // namespace tessera
