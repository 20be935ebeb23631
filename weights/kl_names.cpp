#include "weights/kl_names.h"

#include <ATen/ATen.h>

#include <utility>

namespace tessera {
namespace {

using NamePair = std::pair<const char*, const char*>;  // theirs, ours

constexpr NamePair kOldAttention[] = {{"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"}, {"proj_attn", "to_out.0"}};
constexpr NamePair kOriginalAttention[] = {
    {"norm", "group_norm"}, {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"proj_out", "to_out.0"}};
constexpr NamePair kOriginalResnet[] = {
    {"norm1", "norm1"}, {"conv1", "conv1"}, {"norm2", "norm2"}, {"conv2", "conv2"}, {"nin_shortcut", "conv_shortcut"}};
constexpr const char* kFirstStage = "first_stage_model.";
constexpr int64_t kMostResnets = 16;

template <size_t N>
void add(NameTable& table, const NamePair (&pairs)[N], const std::string& from, const std::string& into) {
  for (const auto& [theirs, ours] : pairs)
    for (const char* kind : {".weight", ".bias"}) table[from + theirs + kind] = into + ours + kind;
}

void add_same(NameTable& table, const std::string& from, const std::string& into) {
  for (const char* kind : {".weight", ".bias"}) table[from + kind] = into + kind;
}

std::string numbered(const std::string& prefix, int64_t i) {
  return prefix + std::to_string(i) + ".";
}

/// The original names of one half with `levels` resolutions, which the decoder numbers from the finest.
void add_half(NameTable& table, bool encoder, int64_t levels) {
  const std::string half = encoder ? "encoder." : "decoder.";
  const std::string theirs = half + (encoder ? "down." : "up."),
                    ours = half + (encoder ? "down_blocks." : "up_blocks.");
  for (int64_t level = 0; level < levels; ++level) {
    const std::string from = numbered(theirs, level), into = numbered(ours, encoder ? level : levels - 1 - level);
    for (int64_t i = 0; i < kMostResnets; ++i)
      add(table, kOriginalResnet, numbered(from + "block.", i), numbered(into + "resnets.", i));
    add_same(table, from + (encoder ? "downsample.conv" : "upsample.conv"),
             into + (encoder ? "downsamplers.0.conv" : "upsamplers.0.conv"));
  }
  add(table, kOriginalResnet, half + "mid.block_1.", half + "mid_block.resnets.0.");
  add(table, kOriginalAttention, half + "mid.attn_1.", half + "mid_block.attentions.0.");
  add(table, kOriginalResnet, half + "mid.block_2.", half + "mid_block.resnets.1.");
  add_same(table, half + "norm_out", half + "conv_norm_out");
}

/// The autoencoder's own tensors, without their prefix.
TensorFile original_part(const TensorFile& file) {
  const bool whole = file.find(std::string(kFirstStage) + "decoder.conv_in.weight") != nullptr;
  const std::string prefix = whole ? kFirstStage : "";
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors())
    for (const char* part : {"encoder.", "decoder.", "quant_conv.", "post_quant_conv."})
      if (name.starts_with(prefix + part)) tensors[name.substr(prefix.size())] = tensor;
  return {std::move(tensors), file.where(), file.metadata()};
}

bool is_original(const TensorFile& file) {
  return file.find("decoder.mid.block_1.conv1.weight") != nullptr ||
         file.find(std::string(kFirstStage) + "decoder.mid.block_1.conv1.weight") != nullptr;
}

}  // namespace

TensorFile autoencoder_kl_tensors(const TensorFile& file) {
  NameTable table;
  TensorFile part = file;
  if (is_original(file)) {
    part = original_part(file);
    add_half(table, /*encoder=*/true, count_numbered(part, "encoder.down."));
    add_half(table, /*encoder=*/false, count_numbered(part, "decoder.up."));
  } else {
    for (const std::string half : {"encoder.", "decoder."})
      add(table, kOldAttention, half + "mid_block.attentions.0.", half + "mid_block.attentions.0.");
  }
  std::map<std::string, at::Tensor> tensors = renamed(part, table).tensors();
  for (auto& [name, tensor] : tensors)
    if (name.find("mid_block.attentions.0.to_") != std::string::npos && tensor.dim() == 4 && tensor.size(2) == 1 &&
        tensor.size(3) == 1)
      tensor = tensor.flatten(1);
  return {std::move(tensors), file.where(), file.metadata()};
}

}  // namespace tessera
