#include "training/lora_layers.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

const std::string kWeightEnd = ".weight";

bool is_target(const std::string& layer, const std::string& target) {
  return layer == target || layer.ends_with("." + target);
}

/// The part of a layer's name that means the same in every block: "blocks.3.attn1.to_q" -> "attn1.to_q".
std::string name_in_block(const std::string& layer) {
  if (!layer.starts_with("blocks.")) return layer;
  const size_t dot = layer.find('.', std::string_view("blocks.").size());
  return dot == std::string::npos ? layer : layer.substr(dot + 1);
}

}  // namespace

ParamList add_lora(const ParamList& params, const LoraSettings& settings) {
  ParamList lora;
  std::set<std::string> unused(settings.targets.begin(), settings.targets.end()), possible;
  for (const Param& param : params) {
    if (!param.low_rank || !param.name.ends_with(kWeightEnd)) continue;
    const std::string layer = param.name.substr(0, param.name.size() - kWeightEnd.size());
    possible.insert(name_in_block(layer));
    bool chosen = false;
    for (const std::string& target : settings.targets)
      if (is_target(layer, target)) {
        unused.erase(target);
        chosen = true;
      }
    if (!chosen) continue;
    const int64_t out = param.shape[0], in = param.shape[1];
    param.low_rank->scale = settings.alpha / static_cast<double>(settings.rank);
    lora.add(layer + ".lora_A.weight", param.low_rank->down, {settings.rank, in},
             Init::uniform(1 / std::sqrt(static_cast<double>(in))));
    lora.add(layer + ".lora_B.weight", param.low_rank->up, {out, settings.rank}, Init::zeros());
  }
  if (!unused.empty())
    throw Error("targets: no layer of this model is called " + joined(unused) + "; there are " + joined(possible));
  return lora;
}

void write_lora(const std::filesystem::path& file, const ParamList& lora, const LoraSettings& settings,
                at::ScalarType dtype) {
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : lora) tensors["transformer." + param.name] = param.slot->detach();
  const nlohmann::json said = {{"transformer.r", settings.rank},
                               {"transformer.lora_alpha", settings.alpha},
                               {"transformer.target_modules", settings.targets}};
  write_safetensors(file, tensors, {{"format", "pt"}, {"lora_adapter_metadata", said.dump(2)}}, dtype);
}

}  // namespace tessera
