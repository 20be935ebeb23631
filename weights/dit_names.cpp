#include "weights/dit_names.h"

#include <ATen/ATen.h>

#include <utility>

#include "weights/fused_qkv.h"

namespace tessera {
namespace {

using NamePair = std::pair<const char*, const char*>;  // theirs, ours

constexpr NamePair kOutsideBlocks[] = {
    {"x_embedder.proj.weight", "pos_embed.proj.weight"},
    {"x_embedder.proj.bias", "pos_embed.proj.bias"},
    {"pos_embed", "pos_embed.pos_embed"},
    {"final_layer.adaLN_modulation.1.weight", "proj_out_1.weight"},
    {"final_layer.adaLN_modulation.1.bias", "proj_out_1.bias"},
    {"final_layer.linear.weight", "proj_out_2.weight"},
    {"final_layer.linear.bias", "proj_out_2.bias"},
};

// The original files have one embedding for all blocks; diffusers repeats it in every block.
constexpr NamePair kEmbedder[] = {
    {"t_embedder.mlp.0.weight", "timestep_embedder.linear_1.weight"},
    {"t_embedder.mlp.0.bias", "timestep_embedder.linear_1.bias"},
    {"t_embedder.mlp.2.weight", "timestep_embedder.linear_2.weight"},
    {"t_embedder.mlp.2.bias", "timestep_embedder.linear_2.bias"},
    {"y_embedder.embedding_table.weight", "class_embedder.embedding_table.weight"},
};

constexpr NamePair kBlock[] = {
    {"adaLN_modulation.1.weight", "norm1.linear.weight"},
    {"adaLN_modulation.1.bias", "norm1.linear.bias"},
    {"attn.proj.weight", "attn1.to_out.0.weight"},
    {"attn.proj.bias", "attn1.to_out.0.bias"},
    {"attn.to_out.0.weight", "attn1.to_out.0.weight"},
    {"attn.to_out.0.bias", "attn1.to_out.0.bias"},
    {"attn.norm.weight", "attn1.norm.weight"},
    {"attn.norm.bias", "attn1.norm.bias"},
    {"attn.q_norm.weight", "attn1.norm_q.weight"},
    {"attn.k_norm.weight", "attn1.norm_k.weight"},
    {"attn.piece_attn.conv.weight", "attn1.block_attn.conv.weight"},
    {"attn.lepe.weight", "attn1.lepe.weight"},
    {"attn.lepe.bias", "attn1.lepe.bias"},
    {"mlp.fc1.weight", "ff.net.0.proj.weight"},
    {"mlp.fc1.bias", "ff.net.0.proj.bias"},
    {"mlp.fc2.weight", "ff.net.2.weight"},
    {"mlp.fc2.bias", "ff.net.2.bias"},
};

// q, k and v have a third of the rows each.
constexpr const char* kFused[] = {"attn.qkv.weight", "attn.qkv.bias", "attn.to_qkv.weight", "attn.to_qkv.bias"};

std::string block_prefix(int64_t layer) {
  return "blocks." + std::to_string(layer) + ".";
}

std::string our_prefix(int64_t layer) {
  return "transformer_blocks." + std::to_string(layer) + ".";
}

}  // namespace

bool has_original_dit_names(const TensorFile& file) {
  int signs = 0;  // any two: one that is missing does not make it something else
  for (const char* name : {"x_embedder.proj.weight", "final_layer.linear.weight", "y_embedder.embedding_table.weight"})
    signs += file.find(name) != nullptr;
  return signs >= 2;
}

int64_t original_dit_layers(const TensorFile& file) {
  int64_t layers = 0;
  while (file.find(block_prefix(layers) + "mlp.fc1.weight") != nullptr) ++layers;
  return layers;
}

TensorFile original_dit_tensors(const TensorFile& file) {
  const int64_t layers = original_dit_layers(file);
  NameTable table;
  for (const auto& [theirs, ours] : kOutsideBlocks) table[theirs] = ours;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (const auto& [theirs, ours] : kBlock) table[block_prefix(layer) + theirs] = our_prefix(layer) + ours;
  std::map<std::string, at::Tensor> tensors = renamed(file, table).tensors();
  for (const auto& [theirs, ours] : kEmbedder) {
    const auto entry = tensors.find(theirs);
    if (entry == tensors.end()) continue;
    const at::Tensor shared = entry->second;
    tensors.erase(entry);
    for (int64_t layer = 0; layer < layers; ++layer) tensors[our_prefix(layer) + "norm1.emb." + ours] = shared;
  }
  for (int64_t layer = 0; layer < layers; ++layer)
    for (const char* fused : kFused)
      split_qkv(tensors, file.where(), block_prefix(layer) + fused, our_prefix(layer) + "attn1.");
  return {std::move(tensors), file.where(), file.metadata()};
}

}  // namespace tessera
