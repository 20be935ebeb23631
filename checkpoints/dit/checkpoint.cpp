#include "checkpoints/dit/checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "checkpoints/tensor_shapes.h"
#include "core/error.h"
#include "core/text.h"
#include "models/attention/blocks.h"
#include "weights/dit_names.h"
#include "weights/model_dir.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStateKeys[] = {"ema", "model", "state_dict"};

/// A published size. Names end in the patch size, which the tensors say: "DiT-XL/2".
struct KnownModel {
  const char* name;
  int64_t width, depth, heads;
  bool original;  // by facebookresearch; the others are variants by MHLA
};

constexpr KnownModel kModels[] = {
    {"DiT-XL/", 1152, 28, 16, true},       {"DiT-L/", 1024, 24, 16, true},
    {"DiT-B/", 768, 12, 12, true},         {"DiT-S/", 384, 12, 6, true},
    {"DiT-L/2-half", 1024, 12, 16, false}, {"DiT-L/2-half-small-head", 1024, 12, 8, false},
};

/// Whether a dict holds DiT's tensors, under whatever prefixes training code added.
bool holds_dit(const ArchiveValue* value) {
  const auto* entries = value ? value->entries() : nullptr;
  return entries && std::any_of(entries->begin(), entries->end(), [](const ArchiveValue::Entry& entry) {
           const std::string* name = entry.first.text();
           return name && (name->ends_with("x_embedder.proj.weight") || name->ends_with("final_layer.linear.weight"));
         });
}

struct Contents {
  TensorFile tensors;
  ArchiveValue args;
  std::vector<std::string> skipped;
};

bool is_safetensors(const fs::path& path) {
  return path.extension() == ".safetensors";
}

Contents read_contents(const fs::path& path) {
  if (!is_torch_archive(path)) return {unwrapped(read_tensors(path)), {}, {}};
  const TorchArchive archive = load_torch_archive(path);
  std::string state;
  for (const char* key : kStateKeys) {
    if (state.empty() && holds_dit(archive.root.find(key))) state = key;
  }
  const ArchiveValue* args = archive.root.find("args");
  return {unwrapped(tensors_of(archive, state)), args ? *args : ArchiveValue(), archive.skipped};
}

/// An integer field of args, or of the dict `group` in it.
std::optional<int64_t> integer_of(const ArchiveValue& args, const std::string& key, const std::string& group = "") {
  const ArchiveValue* from = group.empty() ? &args : args.find(group);
  const ArchiveValue* value = from ? from->find(key) : nullptr;
  return value ? value->integer() : std::nullopt;
}

/// The JSON file beside the checkpoint; an empty object when there is none.
JsonConfig beside(const fs::path& path) {
  const fs::path json = fs::path(path).replace_extension(".json");
  std::error_code ignored;
  if (!fs::is_regular_file(json, ignored)) return {nlohmann::json::object(), json.string()};
  JsonConfig config = JsonConfig::read(json);
  config.reject_unknown({"num_heads", "block_size", "position_order", "num_classes", "id2label"});
  return config;
}

std::optional<int64_t> positive_in(const JsonConfig& json, const std::string& key) {
  if (!json.has(key)) return std::nullopt;
  const int64_t value = json.integer(key);
  if (value < 1) json.fail(key, "must be positive");
  return value;
}

std::optional<int64_t> published_heads(const DitConfig& config, int64_t width, const ArchiveValue& args) {
  const ArchiveValue* model = args.find("model");
  const std::string* name = model ? model->text() : nullptr;
  for (const KnownModel& known : kModels) {
    if (known.width != width || known.depth != config.num_layers) continue;
    const bool named =
        name && (known.original ? name->rfind(known.name, 0) == 0 && name->find('-', 4) == std::string::npos
                                : *name == known.name);
    if (named || (known.original && !name)) return known.heads;
  }
  return std::nullopt;
}

void read_heads(DitConfig& config, int64_t width, const Contents& contents, const JsonConfig& json) {
  std::optional<int64_t> heads = positive_in(json, "num_heads");
  if (!heads) heads = integer_of(contents.args, "num_heads");
  if (!heads) heads = published_heads(config, width, contents.args);
  const std::string what = contents.tensors.where() + " has " + std::to_string(config.num_layers) +
                           " layers of width " + std::to_string(width);
  if (!heads)
    throw Error(what +
                ", which matches none of DiT-S, B, L and XL, and tensors do not tell the number of heads: write " +
                "{\"num_heads\": N} to " + json.where());
  if (*heads < 1 || width % *heads != 0)
    throw Error(what + ", which cannot be divided into " + std::to_string(*heads) + " heads");
  config.num_attention_heads = *heads;
  config.attention_head_dim = width / *heads;
}

void check_block_size(int64_t found, const std::optional<int64_t>& said, const std::string& who,
                      const std::string& where) {
  if (said && *said != found)
    throw Error(where + ": its mixing matrix is for blocks of " + std::to_string(found) + " tokens, but " + who +
                " says " + std::to_string(*said));
}

void read_mhla(DitConfig& config, const Contents& contents, const JsonConfig& json,
               const std::optional<int64_t>& block_size) {
  const TensorFile& file = contents.tensors;
  const std::string mixing = "blocks.0.attn.piece_attn.conv.weight";
  const int64_t blocks = exact_root(shape_of(file, mixing, 4)[0], file.where() + ": the number of blocks of " + mixing);
  const int64_t grid = config.grid();
  if (grid % blocks != 0)
    throw Error(c10::str(file.where(), ": ", mixing, " is for ", blocks, "x", blocks,
                         " blocks, which do not divide an image of ", grid, "x", grid, " tokens"));
  const int64_t tokens = (grid / blocks) * (grid / blocks);
  check_block_size(tokens, block_size, "--block-size", file.where());
  check_block_size(tokens, positive_in(json, "block_size"), json.where(), file.where());
  check_block_size(tokens, integer_of(contents.args, "block_size", "model_kwargs"), "args.model_kwargs", file.where());
  config.attention.kind = AttentionKind::kMhla;
  config.attention.block_layout = {1, blocks, blocks};
  config.attention.lepe = true;
  config.attention.normalizer = Normalizer::kProducts;
  config.attention.qk_norm = file.find("blocks.0.attn.q_norm.weight") != nullptr;
}

void read_classes(DitConfig& config, int64_t rows, const Contents& contents, const JsonConfig& json) {
  std::optional<int64_t> classes = positive_in(json, "num_classes");
  if (!classes) classes = integer_of(contents.args, "num_classes");
  config.num_embeds_ada_norm = classes.value_or(rows - 1);
  config.null_class = config.num_embeds_ada_norm == rows - 1;
  if (config.num_embeds_ada_norm < 1 || config.labels() != rows)
    throw Error(contents.tensors.where() + ": its label table has " + std::to_string(rows) +
                " rows, which do not match " + std::to_string(config.num_embeds_ada_norm) +
                " classes plus one for no class");
}

}  // namespace

bool is_dit_checkpoint(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  if (!is_torch_archive(path) && !is_safetensors(path)) return false;
  if (is_safetensors(path)) return has_original_dit_names(unwrapped(read_tensors(path)));
  const TorchArchive archive = load_torch_archive(path);
  for (const char* key : kStateKeys)
    if (holds_dit(archive.root.find(key))) return true;
  return holds_dit(&archive.root);
}

DitCheckpoint describe_dit(const TensorFile& file, const ArchiveValue& args, const JsonConfig& json,
                           const std::optional<int64_t>& block_size) {
  const Contents contents{file, args, {}};
  DitCheckpoint checkpoint;
  DitConfig& config = checkpoint.config;
  const at::IntArrayRef patch = shape_of(file, "x_embedder.proj.weight", 4);  // [C, in, p, p]
  const int64_t width = patch[0];
  config.in_channels = patch[1];
  config.patch_size = patch[2];
  config.num_layers = original_dit_layers(file);
  if (config.num_layers == 0) shape_of(file, "blocks.0.mlp.fc1.weight", 2);
  const int64_t tokens = shape_of(file, "pos_embed", 3)[1];
  config.sample_size = exact_root(tokens, file.where() + ": the number of tokens of pos_embed") * config.patch_size;
  config.out_channels = shape_of(file, "final_layer.linear.weight", 2)[0] / (config.patch_size * config.patch_size);
  if (config.out_channels != config.in_channels && !config.learns_variance())
    throw Error(file.where() + ": it predicts " + std::to_string(config.out_channels) + " channels from " +
                std::to_string(config.in_channels) +
                ", want the same number or, with a learned variance, twice as many");
  config.mlp_ratio = static_cast<double>(shape_of(file, "blocks.0.mlp.fc1.weight", 2)[0]) / static_cast<double>(width);
  read_classes(config, shape_of(file, "y_embedder.embedding_table.weight", 2)[0], contents, json);
  read_heads(config, width, contents, json);
  config.norm_eps = 1e-6;
  config.downscale_freq_shift = 0;
  config.position_embedding = true;
  const bool mhla = file.find("blocks.0.attn.piece_attn.conv.weight") != nullptr;
  config.attention_bias = file.find(mhla ? "blocks.0.attn.to_qkv.bias" : "blocks.0.attn.qkv.bias") != nullptr;
  if (mhla) read_mhla(config, contents, json, block_size);
  if (!mhla && (block_size || json.has("block_size")))
    throw Error(file.where() + " has softmax attention and therefore no blocks: omit --block-size");
  const std::string order = json.text("position_order", "raster");
  if (order != "raster" && order != "blocks") json.fail("position_order", "must be raster or blocks");
  checkpoint.block_positions = order == "blocks";
  if (checkpoint.block_positions && !mhla)
    json.fail("position_order", "must be raster: softmax attention has no blocks");
  if (json.has("id2label")) checkpoint.class_names = json.object("id2label").json();
  return checkpoint;
}

DitCheckpoint read_dit_checkpoint(const fs::path& path, const std::optional<int64_t>& block_size) {
  const Contents contents = read_contents(path);
  DitCheckpoint checkpoint = describe_dit(contents.tensors, contents.args, beside(path), block_size);
  if (!contents.skipped.empty())
    checkpoint.notes.push_back(path.string() + ": Python objects were not created, only their plain data was read (" +
                               joined(contents.skipped) + ")");
  return checkpoint;
}

at::Tensor block_order(const DitConfig& config) {
  const int64_t grid = config.grid();
  const BlockGrid cut = cut_into_blocks(config.attention, {1, grid, grid});
  return group_blocks(at::arange(grid * grid, at::kDouble).view({1, -1, 1}), 1, cut).flatten().to(at::kLong);
}

}  // namespace tessera
