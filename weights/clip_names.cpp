#include "weights/clip_names.h"

#include <ATen/ATen.h>

#include <utility>

#include "weights/fused_qkv.h"
#include "weights/names.h"

namespace tessera {
namespace {

constexpr std::pair<const char*, const char*> kClipOutside[] = {
    // theirs, ours
    {"cls_embedding", "embeddings.class_embedding"},
    {"pos_embedding", "embeddings.position_embedding.weight"},
    {"patch_embedding.weight", "embeddings.patch_embedding.weight"},
    {"pre_norm.weight", "pre_layrnorm.weight"},
    {"pre_norm.bias", "pre_layrnorm.bias"},
    {"post_norm.weight", "post_layernorm.weight"},
    {"post_norm.bias", "post_layernorm.bias"},
};
constexpr std::pair<const char*, const char*> kClipBlock[] = {
    {"norm1.", "layer_norm1."}, {"attn.to_q.", "self_attn.q_proj."},   {"attn.to_k.", "self_attn.k_proj."},
    {"mlp.0.", "mlp.fc1."},     {"attn.to_v.", "self_attn.v_proj."},   {"norm2.", "layer_norm2."},
    {"mlp.2.", "mlp.fc2."},     {"attn.proj.", "self_attn.out_proj."},
};
constexpr const char* kClipTower = "vision_model.";
constexpr const char* kClipParts[] = {"embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm."};

/// The tower of Wan's own code.
TensorFile original_clip_tensors(const TensorFile& file) {
  std::map<std::string, at::Tensor> tensors;
  const std::string prefix = "visual.";
  for (const auto& [name, tensor] : file.tensors())
    if (name.starts_with(prefix) && name != "visual.head") tensors[name.substr(prefix.size())] = tensor;
  const auto reshape = [&](const char* name, int64_t first, int64_t last) {  // without the axes of a batch
    const auto found = tensors.find(name);
    if (found != tensors.end() && found->second.dim() == 3) found->second = found->second.flatten(first, last);
  };
  reshape("cls_embedding", 0, 2);
  reshape("pos_embedding", 0, 1);
  NameTable table;
  for (const auto& [theirs, ours] : kClipOutside) table[theirs] = std::string(kClipTower) + ours;
  const int64_t layers = count_numbered({tensors, file.where()}, "transformer.");
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string from = "transformer." + std::to_string(layer) + ".";
    const std::string into = std::string(kClipTower) + "encoder.layers." + std::to_string(layer) + ".";
    for (const char* kind : {"weight", "bias"}) {
      split_qkv(tensors, file.where(), from + "attn.to_qkv." + kind, from + "attn.");
      for (const auto& [theirs, ours] : kClipBlock) table[from + theirs + kind] = into + ours + kind;
    }
  }
  return renamed({std::move(tensors), file.where(), file.metadata()}, table);
}

}  // namespace

TensorFile clip_vision_tensors(const TensorFile& file) {
  if (file.find("visual.cls_embedding")) return original_clip_tensors(file);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    const std::string own = name.starts_with(kClipTower) ? name.substr(std::string(kClipTower).size()) : name;
    for (const char* part : kClipParts)
      if (own.starts_with(part) && own != "embeddings.position_ids") tensors[kClipTower + own] = tensor;
  }
  return {std::move(tensors), file.where(), file.metadata()};
}

bool is_clip_vision(const TensorFile& file) {
  for (const char* prefix : {"visual.", "", kClipTower}) {
    const std::string name(prefix);
    const std::string own = name == "visual." ? name + "cls_embedding" : name + "embeddings.class_embedding";
    if (file.find(own)) return true;
  }
  return false;
}

}  // namespace tessera
