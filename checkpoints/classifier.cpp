#include "checkpoints/classifier.h"

#include "checkpoints/tensor_shapes.h"
#include "core/device.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "weights/bind.h"
#include "weights/model_dir.h"
#include "weights/names.h"
#include "weights/torch_archive.h"
#include "weights/vit_names.h"

namespace tessera {
namespace {

constexpr const char *kMhlaClass = "MHLA_ViT", *kFocusedClass = "FocusedViT";
constexpr int64_t kHeadDim = 64;  // of every DeiT

void read_mhla(const TensorFile& file, const ClassifierOptions& options, VitConfig& config) {
  if (options.power)
    throw Error("--focusing-factor is for FLatten classifiers; " + file.where() + " is an MHLA classifier");
  const int64_t blocks = shape_of(file, "blocks.0.attn.block_attn.conv.weight", 4)[0];
  config.attention = AttentionKind::kMhla;
  config.block = config.grid / exact_root(blocks, file.where() + ": the number of blocks");
  config.kernel = shape_of(file, "blocks.0.attn.lepe.weight", 4)[3];
  config.image = config.grid * config.patch * 7 / 8;  // 224 of 256: the rest is a border of zeros
  const bool deit = config.channels == 192 || config.channels == 384 || config.channels == 768;
  if (!options.heads && !deit)
    throw Error(file.where() + ": --heads must specify the number of heads; a width of " +
                std::to_string(config.channels) + " is not one of DeiT's");
  config.heads = options.heads.value_or(config.channels / kHeadDim);
}

void read_focused(const TensorFile& file, const ClassifierOptions& options, VitConfig& config) {
  const int64_t head_dim = shape_of(file, "blocks.0.attn.dwc.weight", 4)[0];
  config.attention = AttentionKind::kFocused;
  config.kernel = shape_of(file, "blocks.0.attn.dwc.weight", 4)[3];
  config.image = config.grid * config.patch;
  config.power = options.power.value_or(config.power);
  config.heads = head_dim > 0 ? config.channels / head_dim : 0;
  if (options.heads && *options.heads != config.heads)
    throw Error(file.where() + " has " + counted(config.heads, "head") + ", but --heads says " +
                std::to_string(*options.heads));
}

}  // namespace

std::string classifier_class(const TensorFile& file) {
  if (!has_vit_names(file)) return "";
  return unwrapped(file).find("blocks.0.attn.dwc.weight") ? kFocusedClass : kMhlaClass;
}

bool is_classifier_class(const std::string& class_name) {
  return class_name == kMhlaClass || class_name == kFocusedClass;
}

TensorFile read_classifier(const std::filesystem::path& weights) {
  const bool archive = weights.extension() != ".safetensors";
  const TensorFile file = is_folder(weights) ? read_weights(open_component(weights))
                          : archive          ? read_torch_archive(weights, kClassifierKeys)
                                             : read_safetensors(weights);
  if (!has_vit_names(file))
    throw Error(
        weights.string() +
        ": not a known classifier: want patch_embed.proj.weight, pos_embed, fc_norm.weight and head.weight of MHLA's "
        "or FLatten's DeiT");
  return vit_tensors(file);
}

nlohmann::json classifier_json(const ClassifierOptions& options) {
  const VitConfig config = classifier_config(read_classifier(options.weights), with_own_config(options));
  nlohmann::json json = {{"num_heads", config.heads}};
  if (config.attention == AttentionKind::kFocused) json["focusing_factor"] = config.power;
  return json;
}

VitConfig classifier_config(const TensorFile& file, const ClassifierOptions& options) {
  if (is_folder(options.weights)) {
    const JsonConfig json = open_component(options.weights).config();
    if (json.text("_class_name", "") == kTrainedClassifierClass) return VitConfig::from_json(json);
  }
  VitConfig config;
  config.channels = shape_of(file, "patch_embed.proj.weight", 4)[0];
  config.patch = shape_of(file, "patch_embed.proj.weight", 4)[3];
  config.depth = count_numbered(file, "blocks.");
  config.classes = shape_of(file, "head.weight", 2)[0];
  config.hidden = shape_of(file, "blocks.0.mlp.fc1.weight", 2)[0];
  config.grid = exact_root(shape_of(file, "pos_embed", 3)[1], file.where() + ": the number of positions in pos_embed");
  if (file.find("blocks.0.attn.dwc.weight"))
    read_focused(file, options, config);
  else
    read_mhla(file, options, config);
  if (config.heads < 1 || config.channels % config.heads != 0)
    throw Error(file.where() + ": " + std::to_string(config.channels) + " channels cannot be divided into " +
                std::to_string(config.heads) + " heads");
  return config;
}

ClassifierOptions with_own_config(ClassifierOptions options) {
  if (!is_folder(options.weights)) return options;
  const JsonConfig config = open_component(options.weights).config();
  const auto differs = [&](const char* key, const char* option) {
    config.fail(key, std::string("differs from ") + option + "; omit that option");
  };
  if (config.has("num_heads")) {
    const int64_t heads = config.integer("num_heads");
    if (options.heads && *options.heads != heads) differs("num_heads", "--heads");
    options.heads = heads;
  }
  if (config.has("focusing_factor")) {
    const double power = config.number("focusing_factor", 0);
    if (options.power && *options.power != power) differs("focusing_factor", "--focusing-factor");
    options.power = power;
  }
  return options;
}

Vit load_classifier(const TensorFile& file, const VitConfig& config, const std::string& dtype, at::Device device) {
  Vit model(config);
  ParamList params;
  model.params(params);
  const auto stored = file.at("head.weight").scalar_type();
  bind(params, file, choose_dtype(dtype, device, stored, params.count()), device);
  return model;
}

}  // namespace tessera
