#include "weights/names.h"

#include <ATen/ATen.h>

#include <utility>

#include "core/error.h"

namespace tessera {
namespace {

using NamePair = std::pair<const char*, const char*>;  // theirs, ours

constexpr NamePair kAttention[] = {
    {"q.weight", "to_q.weight"},        {"q.bias", "to_q.bias"},
    {"k.weight", "to_k.weight"},        {"k.bias", "to_k.bias"},
    {"v.weight", "to_v.weight"},        {"v.bias", "to_v.bias"},
    {"o.weight", "to_out.0.weight"},    {"o.bias", "to_out.0.bias"},
    {"norm_q.weight", "norm_q.weight"}, {"norm_k.weight", "norm_k.weight"},
    {"g.weight", "g.weight"},           {"g.bias", "g.bias"},
    {"g_norm.weight", "g_norm.weight"}, {"lepe.weight", "lepe.weight"},
    {"lepe.bias", "lepe.bias"},         {"block_attn.conv.weight", "block_attn.conv.weight"},
};

// Wan's own norm3 stands before the cross-attention; diffusers counts it as norm2.
constexpr NamePair kBlock[] = {
    {"modulation", "scale_shift_table"},   {"norm3.weight", "norm2.weight"},
    {"norm3.bias", "norm2.bias"},          {"ffn.0.weight", "ffn.net.0.proj.weight"},
    {"ffn.0.bias", "ffn.net.0.proj.bias"}, {"ffn.2.weight", "ffn.net.2.weight"},
    {"ffn.2.bias", "ffn.net.2.bias"},
};

constexpr NamePair kOutsideBlocks[] = {
    {"patch_embedding.weight", "patch_embedding.weight"},
    {"patch_embedding.bias", "patch_embedding.bias"},
    {"text_embedding.0.weight", "condition_embedder.text_embedder.linear_1.weight"},
    {"text_embedding.0.bias", "condition_embedder.text_embedder.linear_1.bias"},
    {"text_embedding.2.weight", "condition_embedder.text_embedder.linear_2.weight"},
    {"text_embedding.2.bias", "condition_embedder.text_embedder.linear_2.bias"},
    {"time_embedding.0.weight", "condition_embedder.time_embedder.linear_1.weight"},
    {"time_embedding.0.bias", "condition_embedder.time_embedder.linear_1.bias"},
    {"time_embedding.2.weight", "condition_embedder.time_embedder.linear_2.weight"},
    {"time_embedding.2.bias", "condition_embedder.time_embedder.linear_2.bias"},
    {"time_projection.1.weight", "condition_embedder.time_proj.weight"},
    {"time_projection.1.bias", "condition_embedder.time_proj.bias"},
    {"head.head.weight", "proj_out.weight"},
    {"head.head.bias", "proj_out.bias"},
    {"head.modulation", "scale_shift_table"},
};

}  // namespace

NameTable wan_attention_names(const std::string& from, const std::string& into) {
  NameTable table;
  for (const auto& [theirs, ours] : kAttention) table[from + theirs] = into + ours;
  return table;
}

NameTable wan_transformer_names(int64_t layers) {
  NameTable table;
  for (const auto& [theirs, ours] : kOutsideBlocks) table[theirs] = ours;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string block = "blocks." + std::to_string(layer) + ".";
    for (const auto& [theirs, ours] : kBlock) table[block + theirs] = block + ours;
    table.merge(wan_attention_names(block + "self_attn.", block + "attn1."));
    table.merge(wan_attention_names(block + "cross_attn.", block + "attn2."));
  }
  return table;
}

NameTable t5_encoder_names() {
  return {{"encoder.embed_tokens.weight", "shared.weight"}};
}

bool has_original_wan_names(const TensorFile& file) {
  return file.find("head.modulation") != nullptr;
}

TensorFile renamed(const TensorFile& file, const NameTable& table) {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> sources;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto entry = table.find(name);
    const std::string& ours = entry == table.end() ? name : entry->second;
    const auto [place, fresh] = tensors.emplace(ours, tensor);
    const at::Tensor& first = place->second;
    if (!fresh && !(first.scalar_type() == tensor.scalar_type() && at::equal(first, tensor)))
      throw Error(file.where() + ": tensors " + sources[ours] + " and " + name + " should be one and the same (" +
                  ours + " in this model), but they differ");
    if (fresh) sources[ours] = name;
  }
  return {std::move(tensors), file.where(), file.metadata()};
}

}  // namespace tessera
