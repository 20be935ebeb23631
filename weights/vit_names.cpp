#include "weights/vit_names.h"

#include <ATen/ATen.h>

#include <utility>

#include "weights/fused_qkv.h"
#include "weights/names.h"

namespace tessera {
namespace {

constexpr std::pair<const char*, const char*> kAttention[] = {
    // theirs, ours
    {"q_norm.weight", "norm_q.weight"},
    {"k_norm.weight", "norm_k.weight"},
    {"piece_attn.conv.weight", "block_attn.conv.weight"},
};

}  // namespace

bool has_vit_names(const TensorFile& file) {
  const TensorFile plain = unwrapped(file);
  return plain.find("patch_embed.proj.weight") && plain.find("pos_embed") && plain.find("fc_norm.weight") &&
         plain.find("head.weight");
}

TensorFile vit_tensors(const TensorFile& file) {
  const TensorFile plain = unwrapped(file);
  NameTable table;
  std::map<std::string, at::Tensor> tensors = plain.tensors();
  for (int64_t layer = 0; layer < count_numbered(plain, "blocks."); ++layer) {
    const std::string attention = "blocks." + std::to_string(layer) + ".attn.";
    for (const auto& [theirs, ours] : kAttention) table[attention + theirs] = attention + ours;
    split_qkv(tensors, plain.where(), attention + "to_qkv.weight", attention);
  }
  return renamed({std::move(tensors), plain.where(), plain.metadata()}, table);
}

}  // namespace tessera
