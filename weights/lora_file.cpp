#include "weights/lora_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json_config.h"
#include "core/paths.h"
#include "core/text.h"
#include "weights/foreign_file.h"
#include "weights/model_dir.h"
#include "weights/shown.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

using Slot = at::Tensor LoraLayer::*;

/// How the names of a layer's tensors end. ".alpha" has no slot.
struct Ending {
  const char* text;
  Slot slot;
};
constexpr Ending kEndings[] = {
    {".lora_A.weight", &LoraLayer::down},
    {".lora_B.weight", &LoraLayer::up},
    {".lora_A.default.weight", &LoraLayer::down},  // PEFT's modules as they are in memory, and DiffSynth's files
    {".lora_B.default.weight", &LoraLayer::up},
    {".lora_B.bias", &LoraLayer::up_bias},
    {".lora_B.default.bias", &LoraLayer::up_bias},
    {".lora_down.weight", &LoraLayer::down},
    {".lora_up.weight", &LoraLayer::up},
    {".lora_up.bias", &LoraLayer::up_bias},
    {".lora.down.weight", &LoraLayer::down},
    {".lora.up.weight", &LoraLayer::up},
    {".lora_A", &LoraLayer::down},
    {".lora_B", &LoraLayer::up},
    {".diff", &LoraLayer::diff},
    {".diff_b", &LoraLayer::diff_bias},
    {".alpha", nullptr},
};

/// Parts of names that only other kinds of adapters have.
constexpr const char* kOtherKinds[][2] = {
    {".hada_w", "LoHa"},     {".lokr_w", "LoKr"}, {".lora_magnitude_vector", "DoRA"},
    {".dora_scale", "DoRA"}, {".oft_", "OFT"},    {".lora_mid", "LoCon with a middle part"},
    {".ia3_", "IA3"},        {".glora_", "GLoRA"}};

const Ending* ending_of(const std::string& name) {
  for (const Ending& ending : kEndings)
    if (name.ends_with(ending.text)) return &ending;
  return nullptr;
}

/// What kind of adapter other than a plain LoRA the tensor belongs to; "" for none.
std::string other_kind(const std::string& name) {
  for (const auto& [part, kind] : kOtherKinds)
    if (name.find(part) != std::string::npos) return kind;
  return "";
}

fs::path file_of(const fs::path& path) {
  if (!is_folder(path)) return path;
  for (const char* name : {"adapter_model.safetensors", "pytorch_lora_weights.safetensors"})
    if (is_file(path / name)) return path / name;
  throw Error(path.string() +
              " is a folder without adapter_model.safetensors or pytorch_lora_weights.safetensors; name the LoRA's "
              "file");
}

/// How PEFT scales the layers of a part, from an object of its settings.
class PeftSettings {
 public:
  /// `prefix` stands before the keys of the object, "transformer." in a header.
  PeftSettings(const nlohmann::json& object, const std::string& prefix, const std::string& where) {
    if (object.contains(prefix + "lora_alpha")) alpha_ = number(object.at(prefix + "lora_alpha"), where);
    if (const auto found = object.find(prefix + "alpha_pattern"); found != object.end() && found->is_object())
      for (const auto& [pattern, alpha] : found->items()) patterns_[pattern] = number(alpha, where);
    by_root_ = is_true(object, prefix + "use_rslora");
    if (is_true(object, prefix + "use_dora"))
      throw Error(where + ": use_dora is set; DoRA is not supported: merge it into its model with PEFT");
  }

  /// Of a layer by its name without the part's prefix.
  std::optional<double> alpha(const std::string& layer) const {
    for (const auto& [pattern, alpha] : patterns_) {
      const std::string name = pattern.starts_with('^') ? pattern.substr(1) : pattern;
      if (layer == name || (name == pattern && layer.ends_with("." + name))) return alpha;
    }
    return alpha_;
  }

  /// Whether alphas are divided by the root of the rank (rank-stabilized LoRA, arXiv:2312.03732).
  bool by_root() const { return by_root_; }

 private:
  static double number(const nlohmann::json& value, const std::string& where) {
    if (!value.is_number()) throw Error(where + ": an alpha must be a number, got " + shown(value.dump()));
    return value.get<double>();
  }
  static bool is_true(const nlohmann::json& object, const std::string& key) {
    return object.contains(key) && object.at(key) == true;
  }

  std::optional<double> alpha_;
  std::map<std::string, double> patterns_;
  bool by_root_ = false;
};

/// Reads one file.
class LoraReader {
 public:
  LoraReader(const TensorFile& tensors, LoraCheck check) : check_(check) {
    lora_.where = tensors.where();
    lora_.metadata = tensors.metadata();
    for (const auto& [name, tensor] : tensors.tensors()) take(name, tensor);
    if (lora_.layers.empty())
      throw Error(lora_.where + " is not a LoRA: none of its " +
                  counted(static_cast<int64_t>(tensors.tensors().size()), "tensor") +
                  " is named as one (lora_A, lora_down, .diff, ...)");
  }

  LoraFile finish(const fs::path& file) {
    lora_.files = {file};
    read_settings(file);
    for (auto& [name, layer] : lora_.layers) complete(name, layer);
    return std::move(lora_);
  }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& problem) const {
    throw Error(lora_.where + ": " + plain(name) + " " + problem);
  }

  void take(const std::string& name, const at::Tensor& tensor) {
    if (const std::string kind = other_kind(name); !kind.empty())
      throw Error(lora_.where + " is a " + kind + " (" + plain(name) +
                  "), which is not supported: use a LoRA, or merge it into its model with the program that made it");
    const Ending* ending = ending_of(name);
    if (!ending) {
      lora_.unknown.push_back(name);
      return;
    }
    if (ending->slot && !tensor.is_floating_point())
      fail(name, c10::str("holds ", tensor.scalar_type(), ", want floating-point numbers"));
    LoraLayer& layer = lora_.layers[name.substr(0, name.size() - std::string_view(ending->text).size())];
    layer.keys.push_back(name);
    if (!ending->slot) return take_alpha(name, tensor, layer);
    if ((layer.*ending->slot).defined()) fail(name, "is there twice, under two names: " + joined(layer.keys));
    if (check_ == LoraCheck::kNumbers && !tensor.to(at::kFloat).isfinite().all().item<bool>())
      fail(name, "holds NaN or infinity");
    layer.*ending->slot = tensor;
  }

  void take_alpha(const std::string& name, const at::Tensor& tensor, LoraLayer& layer) {
    if (tensor.numel() != 1) fail(name, c10::str("is ", tensor.sizes(), ", want one number"));
    layer.alpha = tensor.to(at::kDouble).item<double>();
    if (!std::isfinite(*layer.alpha)) fail(name, c10::str("is ", *layer.alpha, ", want a finite number"));
  }

  void read_settings(const fs::path& file) {
    if (const auto text = lora_.metadata.find("lora_adapter_metadata"); text != lora_.metadata.end()) {
      const std::string where = lora_.where + ": lora_adapter_metadata";
      const auto object = nlohmann::json::parse(text->second, nullptr, false);
      if (!object.is_object()) throw Error(where + " of the header is not a JSON object");
      for (const char* part : {"transformer.", "text_encoder."})
        settings_.emplace_back(part, PeftSettings(object, part, where));
    }
    const fs::path beside = file.parent_path() / "adapter_config.json";
    if (!settings_.empty() || !file.filename().string().starts_with("adapter_model") || !is_file(beside)) return;
    const nlohmann::json config = read_json_object(beside);
    settings_.emplace_back("base_model.model.", PeftSettings(config, "", beside.string()));
    lora_.files.push_back(beside);
    for (const char* key : {"base_model_name_or_path", "peft_type"})
      if (config.contains(key) && config.at(key).is_string()) lora_.settings[key] = config.at(key).get<std::string>();
  }

  void complete(const std::string& name, LoraLayer& layer) const {
    std::sort(layer.keys.begin(), layer.keys.end());
    if (layer.down.defined() != layer.up.defined())
      fail(layer.keys.front(),
           layer.down.defined() ? "has no second half (lora_B or lora_up)" : "has no first half (lora_A or lora_down)");
    if (layer.up_bias.defined() && !layer.up.defined()) fail(layer.keys.front(), "has no lora_A and lora_B beside it");
    if (!layer.down.defined()) return;
    if (layer.down.dim() < 2 || layer.up.dim() < 2)
      fail(name, c10::str("has a pair of ", layer.down.sizes(), " and ", layer.up.sizes(),
                          ", want [rank, in] and [out, rank]"));
    if (layer.rank() == 0) fail(name, "has rank 0: its pair is empty");
    if (layer.up.size(1) != layer.rank())
      fail(name, c10::str("has two ranks: its pair is ", layer.down.sizes(), " and ", layer.up.sizes(),
                          ", want [rank, in] and [out, rank]"));
    set_scale(name, layer);
  }

  void set_scale(const std::string& name, LoraLayer& layer) const {
    auto divisor = static_cast<double>(layer.rank());
    for (const auto& [prefix, settings] : settings_) {
      if (layer.alpha || !name.starts_with(prefix)) continue;
      layer.alpha = settings.alpha(name.substr(prefix.size()));
      if (settings.by_root()) divisor = std::sqrt(divisor);
    }
    if (!layer.alpha) return;
    layer.scale = *layer.alpha / divisor;
    if (!(std::abs(layer.scale) <= kLargestLoraScale))
      fail(name, c10::str("has alpha ", *layer.alpha, " at rank ", layer.rank(), ", a scale of ", layer.scale,
                          "; at most ", kLargestLoraScale, " is believed: the file is damaged"));
  }

  LoraCheck check_;
  LoraFile lora_;
  std::vector<std::pair<std::string, PeftSettings>> settings_;  // by the prefix of the layers they are for
};

}  // namespace

bool holds_lora(const TensorFile& file) {
  const auto& tensors = file.tensors();
  const auto is_part = [](const auto& entry) {
    const Ending* ending = ending_of(entry.first);
    return (ending && ending->slot) || !other_kind(entry.first).empty();
  };
  const auto parts = std::count_if(tensors.begin(), tensors.end(), is_part);
  const auto alphas =
      std::count_if(tensors.begin(), tensors.end(), [](const auto& entry) { return entry.first.ends_with(".alpha"); });
  return parts > 0 && 2 * static_cast<size_t>(parts + alphas) > tensors.size();
}

LoraFile read_lora_file(const fs::path& path, LoraCheck check) {
  const fs::path file = file_of(path);
  refuse_foreign(file, "a LoRA");
  return LoraReader(read_tensors(file), check).finish(file);
}

}  // namespace tessera
