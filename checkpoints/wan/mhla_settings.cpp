#include "checkpoints/wan/mhla_settings.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "core/paths.h"
#include "core/size_limits.h"
#include "core/text.h"
#include "core/yaml_config.h"
#include "models/wan/transformer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The one layout of so many blocks that the released code can make: it hands no other to its layers.
constexpr int64_t kReleasedBlocks = 150;
const std::vector<int64_t> kReleasedLayout{3, 5, 10};

/// The mixing matrix's size.
int64_t block_count(const TensorFile& file) {
  for (const auto& [name, tensor] : file.tensors())
    if (name.ends_with(".block_attn.conv.weight") && tensor.dim() == 4) return tensor.size(0);
  throw Error(file.where() + ": no block_attn.conv.weight [blocks, blocks, 1, 1] among its tensors");
}

std::string listed(const std::vector<int64_t>& numbers) {
  return "[" + joined(numbers) + "]";
}

std::vector<int64_t> mhla_layers(const JsonConfig& config) {
  const auto softmax = config.object("attention").integers("softmax_layers", {});
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < config.integer("num_layers"); ++layer)
    if (std::find(softmax.begin(), softmax.end(), layer) == softmax.end()) layers.push_back(layer);
  return layers;
}

/// The YAML files of a folder and its configs/ that configure attention, sorted.
std::vector<fs::path> training_configs(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const fs::path& place : {folder, folder / "configs"}) {
    std::error_code problem;
    for (auto entry = fs::directory_iterator(place, problem); !problem && entry != fs::directory_iterator();
         entry.increment(problem)) {
      const fs::path path = entry->path();
      if (path.extension() != ".yaml" && path.extension() != ".yml") continue;
      std::error_code unreadable;
      // A larger one is something else, and none of this model's business.
      if (!is_file(path) || fs::file_size(path, unreadable) > limits::kYamlBytes || unreadable) continue;
      const std::string text = read_small_file(path, limits::kYamlBytes, "a YAML config");
      if (text.find("self_attn_type") != std::string::npos) found.push_back(path);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// The yaml of the nearest folder that names the layers which are MHLA's in the weights; those that name others go to
/// `others`.
std::optional<JsonConfig> find_yaml(const std::vector<fs::path>& folders, const std::vector<int64_t>& layers,
                                    std::vector<std::string>& others) {
  for (const fs::path& folder : folders)
    for (const fs::path& path : training_configs(folder)) {
      const JsonConfig yaml(read_yaml_object(path), path.string());
      std::vector<int64_t> named = yaml.object("model").integers("linear_attn_idx", {});
      std::sort(named.begin(), named.end());
      if (named == layers) return yaml;
      others.push_back(path.string() + " has MHLA in layers " + listed(named));
    }
  return std::nullopt;
}

/// Copies a value of the YAML under its name in core/job.h.
void take(const JsonConfig& from, const std::string& key, json& into, const std::string& name) {
  if (from.has(key)) into[name] = from.json().at(key);
}

void read_yaml(const JsonConfig& yaml, MhlaSettings& settings) {
  const JsonConfig model = yaml.object("model");
  if (const std::string kind = model.text("self_attn_type"); kind != "mhla_uni")
    model.fail("self_attn_type", "must be mhla_uni, the only published form of video MHLA");
  if (model.has("block_layout")) settings.attention["block_layout"] = model.integers("block_layout");
  settings.attention["normalizer"] = model.boolean("norm_output", true) ? "products" : "none";
  take(model, "video_width", settings.defaults, "width");
  take(model, "video_height", settings.defaults, "height");
  take(model, "num_frames", settings.defaults, "frames");
  if (yaml.has("scheduler")) take(yaml.object("scheduler"), "flow_shift", settings.defaults, "flow_shift");
  take(yaml, "cfg_scale", settings.defaults, "cfg_scale");
  if (yaml.has("text_encoder")) {
    const JsonConfig text = yaml.object("text_encoder");
    take(text, "text_len", settings.defaults, "max_sequence_length");
    if (text.has("t5_checkpoint")) settings.parts.emplace_back(text.text("t5_checkpoint"));
  }
  if (yaml.has("vae") && yaml.object("vae").has("vae_pretrained"))
    settings.parts.emplace_back(yaml.object("vae").text("vae_pretrained"));
  settings.source = yaml.where();
}

/// A config.json with an `attention` object beside the checkpoint.
bool read_own_config(const fs::path& folder, MhlaSettings& settings) {
  const fs::path path = folder / "config.json";
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  const JsonConfig config = JsonConfig::read(path);
  if (!config.has("attention")) return false;
  const JsonConfig attention = config.object("attention");
  if (attention.has("block_layout")) settings.attention["block_layout"] = attention.integers("block_layout");
  if (attention.has("normalizer")) settings.attention["normalizer"] = attention.text("normalizer");
  settings.source = path;
  return true;
}

void check_layout(const TensorFile& file, const MhlaSettings& settings) {
  const std::vector<int64_t> layout = settings.attention.at("block_layout");
  int64_t blocks = 1;
  for (const int64_t size : layout)
    if (size < 1 || __builtin_mul_overflow(blocks, size, &blocks)) blocks = -1;
  if (layout.size() == 3 && blocks == block_count(file)) return;
  throw Error(settings.source.string() + ": block_layout " + listed(layout) + " does not make the " +
              std::to_string(block_count(file)) + " blocks that " + file.where() + " mixes");
}

[[noreturn]] void ask_for(const std::vector<std::string>& unknown, const TensorFile& file,
                          const std::vector<int64_t>& layers, const std::vector<std::string>& others) {
  std::string text =
      file.where() + " does not say " + joined(unknown, " and ") +
      " of its MHLA: put its training YAML (Wan_1300M_mhla.yaml or Wan_1300M_hybrid_mhla.yaml of the MHLA "
      "repository) beside it, or a config.json such as {\"attention\": {\"block_layout\": [3, 5, 10], "
      "\"normalizer\": \"none\"}} (\"products\" if norm_output is true in the YAML)";
  if (!others.empty())
    text += "; not used because the weights have MHLA in layers " + listed(layers) + ": " + joined(others);
  throw Error(text);
}

}  // namespace

MhlaSettings find_mhla_settings(const TensorFile& file, const JsonConfig& config,
                                const std::vector<fs::path>& folders) {
  MhlaSettings settings{config.json().at("attention"), json::object(), {}, {}};
  const std::vector<int64_t> layers = mhla_layers(config);
  std::vector<std::string> others;
  if (!folders.empty() && !read_own_config(folders.front(), settings))
    if (const auto yaml = find_yaml(folders, layers, others)) read_yaml(*yaml, settings);
  if (!settings.attention.contains("block_layout") && block_count(file) == kReleasedBlocks)
    settings.attention["block_layout"] = kReleasedLayout;
  std::vector<std::string> unknown;
  for (const char* key : {"block_layout", "normalizer"})
    if (!settings.attention.contains(key)) unknown.emplace_back(key);
  if (!unknown.empty()) ask_for(unknown, file, layers, others);
  check_layout(file, settings);
  return settings;
}

std::string mhla_training_yaml(const JsonConfig& transformer) {
  const auto config = WanTransformerConfig::from_json(transformer);
  const AttentionConfig& attention = config.attention;
  const auto refuse = [&](bool wrong, const std::string& what) {
    if (wrong)
      throw Error(transformer.where() + ": " + what +
                  ", which the code of the MHLA repository does not have; --layout " + "diffusers writes any model");
  };
  refuse(attention.kind != AttentionKind::kMhla, std::string("its attention is ") + name_of(attention.kind));
  refuse(attention.normalizer == Normalizer::kSums, "its normalizer is of sums");
  refuse(attention.block_tokens.has_value(), "its blocks have a fixed number of tokens");
  refuse(attention.clamp_mixing, "its mixing weights are clamped");
  refuse(attention.transform != MixingTransform::kLinear || transformer.has("position_embedding"),
         "it has a transform of its mixing matrix or learned positions");
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  const Extent3& blocks = attention.block_layout;
  return std::string("# Attention of the model beside this file.\nmodel:\n  self_attn_type: mhla_uni\n") +
         "  linear_attn_idx: " + listed(mhla_layers(transformer)) +
         "\n  block_layout: " + listed({blocks[0], blocks[1], blocks[2]}) + "\n  is_gated: " + flag(attention.gated) +
         "\n  is_lepe: " + flag(attention.lepe) +
         "\n  norm_output: " + flag(attention.normalizer == Normalizer::kProducts) + "\n  rope_after: true\n";
}

}  // namespace tessera
