#include "weights/names.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "kernels/packed.h"
#include "weights/clip_names.h"
#include "weights/dit_names.h"
#include "weights/kl_names.h"

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

// Wan's own norm3 precedes the cross-attention; diffusers calls it norm2.
constexpr NamePair kBlock[] = {
    {"modulation", "scale_shift_table"},   {"norm3.weight", "norm2.weight"},
    {"norm3.bias", "norm2.bias"},          {"ffn.0.weight", "ffn.net.0.proj.weight"},
    {"ffn.0.bias", "ffn.net.0.proj.bias"}, {"ffn.2.weight", "ffn.net.2.weight"},
    {"ffn.2.bias", "ffn.net.2.bias"},
};

// What a cross-attention to image states has besides.
constexpr NamePair kImageAttention[] = {
    {"k_img.weight", "add_k_proj.weight"},        {"k_img.bias", "add_k_proj.bias"},
    {"v_img.weight", "add_v_proj.weight"},        {"v_img.bias", "add_v_proj.bias"},
    {"norm_k_img.weight", "norm_added_k.weight"},
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
    {"img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"},
    {"img_emb.proj.0.weight", "condition_embedder.image_embedder.norm1.weight"},
    {"img_emb.proj.0.bias", "condition_embedder.image_embedder.norm1.bias"},
    {"img_emb.proj.1.weight", "condition_embedder.image_embedder.ff.net.0.proj.weight"},
    {"img_emb.proj.1.bias", "condition_embedder.image_embedder.ff.net.0.proj.bias"},
    {"img_emb.proj.3.weight", "condition_embedder.image_embedder.ff.net.2.weight"},
    {"img_emb.proj.3.bias", "condition_embedder.image_embedder.ff.net.2.bias"},
    {"img_emb.proj.4.weight", "condition_embedder.image_embedder.norm2.weight"},
    {"img_emb.proj.4.bias", "condition_embedder.image_embedder.norm2.bias"},
    {"head.head.weight", "proj_out.weight"},
    {"head.head.bias", "proj_out.bias"},
    {"head.modulation", "scale_shift_table"},
};

constexpr NamePair kTextBlock[] = {
    {"norm1.weight", "layer.0.layer_norm.weight"},
    {"attn.q.weight", "layer.0.SelfAttention.q.weight"},
    {"attn.k.weight", "layer.0.SelfAttention.k.weight"},
    {"attn.v.weight", "layer.0.SelfAttention.v.weight"},
    {"attn.o.weight", "layer.0.SelfAttention.o.weight"},
    {"pos_embedding.embedding.weight", "layer.0.SelfAttention.relative_attention_bias.weight"},
    {"norm2.weight", "layer.1.layer_norm.weight"},
    {"ffn.gate.0.weight", "layer.1.DenseReluDense.wi_0.weight"},
    {"ffn.fc1.weight", "layer.1.DenseReluDense.wi_1.weight"},
    {"ffn.fc2.weight", "layer.1.DenseReluDense.wo.weight"},
};

// Those that llama.cpp gives the encoder of a T5 model in GGUF.
constexpr NamePair kGgufTextBlock[] = {
    {"attn_norm.weight", "layer.0.layer_norm.weight"},
    {"attn_q.weight", "layer.0.SelfAttention.q.weight"},
    {"attn_k.weight", "layer.0.SelfAttention.k.weight"},
    {"attn_v.weight", "layer.0.SelfAttention.v.weight"},
    {"attn_o.weight", "layer.0.SelfAttention.o.weight"},
    {"attn_rel_b.weight", "layer.0.SelfAttention.relative_attention_bias.weight"},
    {"ffn_norm.weight", "layer.1.layer_norm.weight"},
    {"ffn_gate.weight", "layer.1.DenseReluDense.wi_0.weight"},
    {"ffn_up.weight", "layer.1.DenseReluDense.wi_1.weight"},
    {"ffn_down.weight", "layer.1.DenseReluDense.wo.weight"},
};

constexpr NamePair kVaeResidual[] = {
    {"residual.0.gamma", "norm1.gamma"},         {"residual.2.weight", "conv1.weight"},
    {"residual.2.bias", "conv1.bias"},           {"residual.3.gamma", "norm2.gamma"},
    {"residual.6.weight", "conv2.weight"},       {"residual.6.bias", "conv2.bias"},
    {"shortcut.weight", "conv_shortcut.weight"}, {"shortcut.bias", "conv_shortcut.bias"},
};

constexpr const char* kVaeAttention[] = {"norm.gamma", "to_qkv.weight", "to_qkv.bias", "proj.weight", "proj.bias"};
constexpr const char* kVaeResample[] = {"resample.1.weight", "resample.1.bias", "time_conv.weight", "time_conv.bias"};
constexpr const char* kWeightAndBias[] = {"weight", "bias"};

constexpr int64_t kMostBlocks = 1024;  // a larger number in a name is not that of a block
constexpr const char* kSingleFilePrefix = "model.diffusion_model.";
constexpr const char* kPrefixes[] = {"model.", "module.", "diffusion_model.", "transformer."};
constexpr const char* kWrappers[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."};
constexpr const char* kParallel = "module.";  // of DataParallel and DistributedDataParallel

template <size_t N>
void add_pairs(NameTable& table, const NamePair (&pairs)[N], const std::string& from, const std::string& into) {
  for (const auto& [theirs, ours] : pairs) table[from + theirs] = into + ours;
}

template <size_t N>
void add_same(NameTable& table, const char* const (&names)[N], const std::string& from, const std::string& into) {
  for (const char* name : names) table[from + name] = into + name;
}

std::string numbered(const std::string& prefix, int64_t number) {
  return prefix + std::to_string(number) + ".";
}

/// What encoder and decoder have in common: the first and last convolution and the middle block.
void add_vae_half(NameTable& table, const std::string& half) {
  add_same(table, kWeightAndBias, half + "conv1.", half + "conv_in.");
  add_pairs(table, kVaeResidual, half + "middle.0.", half + "mid_block.resnets.0.");
  add_same(table, kVaeAttention, half + "middle.1.", half + "mid_block.attentions.0.");
  add_pairs(table, kVaeResidual, half + "middle.2.", half + "mid_block.resnets.1.");
  table[half + "head.0.gamma"] = half + "norm_out.gamma";
  add_same(table, kWeightAndBias, half + "head.2.", half + "conv_out.");
}

/// The tensors whose names begin with `prefix`, without it.
TensorFile under(const TensorFile& file, const std::string& prefix) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors())
    if (name.starts_with(prefix)) tensors.emplace(name.substr(prefix.size()), tensor);
  return {std::move(tensors), file.where(), file.metadata()};
}

/// Where `part`, which ends in a dot, stands in a name between dots; npos when it does not.
size_t place_of_part(const std::string& name, const std::string& part) {
  for (size_t at = name.find(part); at != std::string::npos; at = name.find(part, at + 1))
    if (at == 0 || name[at - 1] == '.') return at;
  return std::string::npos;
}

bool holds_part(const std::string& name, const std::string& part) {
  return place_of_part(name, part) != std::string::npos;
}

/// The tensors by their names without `parts`.
TensorFile without_parts(const TensorFile& file, const std::vector<std::string>& parts) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    std::string plain_name = name;
    for (const std::string& part : parts)
      for (size_t at = 0; (at = place_of_part(plain_name, part)) != std::string::npos;)
        plain_name.erase(at, part.size());
    if (!tensors.emplace(plain_name, tensor).second)
      throw Error(file.where() + ": tensor " + plain_name + " is there twice, with and without a training wrapper's " +
                  joined(parts, " or ") + " in its name");
  }
  return {std::move(tensors), file.where(), file.metadata()};
}

bool same_numbers(const at::Tensor& a, const at::Tensor& b) {
  if (packed_weight(a) || packed_weight(b)) return same_packed(a, b);
  return a.scalar_type() == b.scalar_type() && at::equal(a, b);
}

bool all_begin_with(const TensorFile& file, const std::string& prefix) {
  for (const auto& [name, tensor] : file.tensors())
    if (!name.starts_with(prefix)) return false;
  return !file.tensors().empty();
}

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
    add_pairs(table, kImageAttention, block + "cross_attn.", block + "attn2.");
  }
  return table;
}

NameTable t5_encoder_names() {
  return {{"encoder.embed_tokens.weight", "shared.weight"}};
}

NameTable wan_text_encoder_names(int64_t layers) {
  NameTable table{{"token_embedding.weight", "shared.weight"}, {"norm.weight", "encoder.final_layer_norm.weight"}};
  for (int64_t layer = 0; layer < layers; ++layer)
    add_pairs(table, kTextBlock, numbered("blocks.", layer), numbered("encoder.block.", layer));
  return table;
}

NameTable gguf_text_encoder_names(int64_t layers) {
  NameTable table{{"token_embd.weight", "shared.weight"},
                  {"enc.output_norm.weight", "encoder.final_layer_norm.weight"}};
  for (int64_t layer = 0; layer < layers; ++layer)
    add_pairs(table, kGgufTextBlock, numbered("enc.blk.", layer), numbered("encoder.block.", layer));
  return table;
}

NameTable wan_vae_names(int64_t levels, int64_t res_blocks) {
  NameTable table;
  add_same(table, kWeightAndBias, "conv1.", "quant_conv.");
  add_same(table, kWeightAndBias, "conv2.", "post_quant_conv.");
  add_vae_half(table, "encoder.");
  add_vae_half(table, "decoder.");
  // Both number the encoder's layers consecutively; diffusers nests the decoder's in levels.
  for (int64_t level = 0, i = 0; level < levels; ++level) {
    for (int64_t block = 0; block < res_blocks; ++block, ++i)
      add_pairs(table, kVaeResidual, numbered("encoder.downsamples.", i), numbered("encoder.down_blocks.", i));
    if (level + 1 < levels) {
      add_same(table, kVaeResample, numbered("encoder.downsamples.", i), numbered("encoder.down_blocks.", i));
      ++i;
    }
  }
  for (int64_t level = 0, i = 0; level < levels; ++level) {
    const std::string into = numbered("decoder.up_blocks.", level);
    for (int64_t block = 0; block <= res_blocks; ++block, ++i)
      add_pairs(table, kVaeResidual, numbered("decoder.upsamples.", i), numbered(into + "resnets.", block));
    if (level + 1 < levels) add_same(table, kVaeResample, numbered("decoder.upsamples.", i++), into + "upsamplers.0.");
  }
  return table;
}

NameTable wan22_vae_names(int64_t levels, int64_t res_blocks) {
  NameTable table;
  add_same(table, kWeightAndBias, "conv1.", "quant_conv.");
  add_same(table, kWeightAndBias, "conv2.", "post_quant_conv.");
  add_vae_half(table, "encoder.");
  add_vae_half(table, "decoder.");
  const auto add_level = [&](const std::string& from, const std::string& into, int64_t blocks, const char* resampler) {
    for (int64_t block = 0; block < blocks; ++block)
      add_pairs(table, kVaeResidual, numbered(from, block), numbered(into + "resnets.", block));
    add_same(table, kVaeResample, numbered(from, blocks), into + resampler);
  };
  for (int64_t level = 0; level < levels; ++level) {
    add_level(numbered("encoder.downsamples.", level) + "downsamples.", numbered("encoder.down_blocks.", level),
              res_blocks, "downsampler.");
    add_level(numbered("decoder.upsamples.", level) + "upsamples.", numbered("decoder.up_blocks.", level),
              res_blocks + 1, "upsampler.");
  }
  return table;
}

int64_t count_numbered(const TensorFile& file, const std::string& prefix) {
  int64_t count = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    int64_t number = 0;
    if (!name.starts_with(prefix)) continue;
    const char* end = name.data() + name.size();
    const auto [rest, failure] = std::from_chars(name.data() + prefix.size(), end, number);
    const bool good = failure == std::errc() && rest != end && *rest == '.' && number >= 0 && number < kMostBlocks;
    if (good) count = std::max(count, number + 1);
  }
  return count;
}

std::vector<std::string> wrappers_of(const TensorFile& file) {
  std::vector<std::string> found;
  for (const std::string wrapper : kWrappers) {
    const auto& tensors = file.tensors();
    if (std::any_of(tensors.begin(), tensors.end(),
                    [&](const auto& entry) { return holds_part(entry.first, wrapper); }))
      found.push_back(wrapper);
  }
  if (all_begin_with(without_parts(file, found), kParallel)) found.emplace_back(kParallel);
  return found;
}

TensorFile without_wrappers(const TensorFile& file) {
  const std::vector<std::string> found = wrappers_of(file);
  if (found.empty()) return file;
  TensorFile inner = without_parts(file, found);
  while (all_begin_with(inner, kParallel)) inner = under(inner, kParallel);
  return inner;
}

TensorFile unwrapped(const TensorFile& file) {
  const TensorFile all = without_wrappers(file);
  TensorFile inner = under(all, kSingleFilePrefix);
  if (inner.tensors().empty()) inner = all;
  for (const char* const* prefix = std::begin(kPrefixes); prefix != std::end(kPrefixes);) {
    const bool shared = all_begin_with(inner, *prefix);
    if (shared) inner = under(inner, *prefix);
    prefix = shared ? std::begin(kPrefixes) : prefix + 1;
  }
  return inner;
}

namespace {

TensorFile canonical_vae_tensors(const TensorFile& file) {
  const std::string level = "encoder.downsamples.0.downsamples.";
  if (const int64_t layers = count_numbered(file, level); layers > 0) {
    const bool resamples = file.find(numbered(level, layers - 1) + "resample.1.weight");
    return renamed(file, wan22_vae_names(count_numbered(file, "encoder.downsamples."), layers - (resamples ? 1 : 0)));
  }
  // Every level but the last ends in a resampling layer.
  int64_t resampling = 0, residual = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    if (!name.starts_with("encoder.downsamples.")) continue;
    resampling += name.ends_with(".resample.1.weight");
    residual += name.ends_with(".residual.2.weight");
  }
  return renamed(file, wan_vae_names(resampling + 1, residual / (resampling + 1)));
}

/// Without norm_added_q, which files of diffusers' first image models have and no network uses.
TensorFile without_unused_norms(const TensorFile& file) {
  std::map<std::string, at::Tensor> tensors = file.tensors();
  std::erase_if(tensors, [](const auto& entry) { return entry.first.ends_with(".attn2.norm_added_q.weight"); });
  return {std::move(tensors), file.where(), file.metadata()};
}

/// Without spiece_model, the tokenizer that ComfyUI's files hold as bytes.
TensorFile canonical_text_tensors(const TensorFile& stored) {
  std::map<std::string, at::Tensor> tensors = stored.tensors();
  if (const auto entry = tensors.find("spiece_model"); entry != tensors.end() && entry->second.dim() == 1)
    tensors.erase(entry);
  const TensorFile file{std::move(tensors), stored.where(), stored.metadata()};
  if (file.find("token_embedding.weight"))
    return renamed(file, wan_text_encoder_names(count_numbered(file, "blocks.")));
  if (file.find("token_embd.weight")) return renamed(file, gguf_text_encoder_names(count_numbered(file, "enc.blk.")));
  return renamed(file, t5_encoder_names());
}

}  // namespace

TensorFile canonical_tensors(const TensorFile& stored, const std::string& class_name) {
  if (class_name == "WanTransformer3DModel") {
    const TensorFile inner = unwrapped(stored);
    if (!has_original_wan_names(inner)) return without_unused_norms(inner);
    return renamed(inner, wan_transformer_names(count_numbered(inner, "blocks.")));
  }
  if (class_name == "DiTTransformer2DModel") {
    const TensorFile inner = unwrapped(stored);
    return has_original_dit_names(inner) ? original_dit_tensors(inner) : inner;
  }
  const TensorFile file = without_wrappers(stored);
  if (class_name == "UMT5EncoderModel") return canonical_text_tensors(file);
  if (class_name == "CLIPVisionModel") return clip_vision_tensors(file);
  if (class_name == "AutoencoderKL") return autoencoder_kl_tensors(file);
  if (class_name == "AutoencoderKLWan" && file.find("decoder.head.0.gamma")) return canonical_vae_tensors(file);
  return file;
}

NameTable names_in_gguf(const TensorFile& canonical, const std::string& class_name) {
  NameTable theirs;
  if (class_name == "WanTransformer3DModel") theirs = wan_transformer_names(count_numbered(canonical, "blocks."));
  if (class_name == "UMT5EncoderModel") theirs = gguf_text_encoder_names(count_numbered(canonical, "encoder.block."));
  NameTable table;
  for (const auto& [name, ours] : theirs) table[ours] = name;
  return table;
}

bool has_original_wan_names(const TensorFile& file) {
  return file.find("head.modulation") || file.find("blocks.0.self_attn.q.weight");
}

TensorFile renamed(const TensorFile& file, const NameTable& table) {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> sources;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto entry = table.find(name);
    const std::string& ours = entry == table.end() ? name : entry->second;
    const auto [place, fresh] = tensors.emplace(ours, tensor);
    if (!fresh && !same_numbers(place->second, tensor))
      throw Error(file.where() + ": tensors " + sources[ours] + " and " + name + " should be tied (both are " + ours +
                  " in this model), but they differ");
    if (fresh) sources[ours] = name;
  }
  return {std::move(tensors), file.where(), file.metadata()};
}

}  // namespace tessera
