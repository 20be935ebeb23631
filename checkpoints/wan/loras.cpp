#include "checkpoints/wan/loras.h"

#include <algorithm>

#include "core/text.h"

namespace tessera {
namespace {

template <class Network, class Config>
LoraNames names_of(const std::string& network, const Config& config, const NameTable& others,
                   std::vector<std::string> prefixes, std::vector<std::string> flat_prefixes) {
  Network empty(config);
  ParamList params;
  empty.params(params);
  return {network, params, others, std::move(prefixes), std::move(flat_prefixes)};
}

/// Whether a parameter of a self-attention is one that softmax attention has too.
bool is_softmax_param(const std::string& name) {
  for (const char* part : {".to_q.", ".to_k.", ".to_v.", ".to_out.", ".norm_q.", ".norm_k."})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

}  // namespace

LoraNames lora_names(const WanTransformerConfig& config) {
  return names_of<WanTransformer>(
      kLoraTransformer, config, wan_transformer_names(config.num_layers),
      {"base_model.model.", "transformer.", "model.diffusion_model.", "diffusion_model.", "pipe.dit.", "dit."},
      {"lora_unet_", "lora_transformer_"});
}

LoraNames lora_names(const Umt5Config& config) {
  return names_of<Umt5Encoder>(
      kLoraTextEncoder, config, wan_text_encoder_names(config.num_layers),
      {"base_model.model.", "text_encoder.", "text_encoders.umt5xxl.transformer.", "text_encoders.umt5xxl."},
      {"lora_te_", "lora_te1_", "lora_text_encoder_"});
}

LoraShelf lora_shelf(const WanModel& model) {
  std::vector<LoraNames> networks;
  networks.push_back(lora_names(model.transformer));
  networks.push_back(lora_names(model.text_encoder));
  return LoraShelf(std::move(networks));
}

std::string softmax_warning(const OpenedLora& lora, const WanTransformerConfig& config) {
  const auto changes = lora.changes.find(kLoraTransformer);
  if (changes == lora.changes.end()) return "";
  const AttentionConfig& attention = config.attention;
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (attention.kind_of_layer(layer) == AttentionKind::kSoftmax) continue;
    const std::string prefix = "blocks." + std::to_string(layer) + ".attn1.";
    bool changed = false;
    for (auto entry = changes->second.lower_bound(prefix);
         entry != changes->second.end() && entry->first.starts_with(prefix); ++entry) {
      if (!is_softmax_param(entry->first)) return "";  // it was trained with this attention's own weights
      changed = true;
    }
    if (changed) layers.push_back(layer);
  }
  if (layers.empty()) return "";
  return "warning: " + lora.file.where + " was trained for softmax attention, as far as its tensors tell, but " +
         std::string(name_of(attention.kind)) + " is the self-attention of " +
         counted(static_cast<int64_t>(layers.size()), "layer") + " that it changes (" + joined(layers) +
         "): it may have another effect than on its own model";
}

}  // namespace tessera
