#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "models/dit/dit.h"
#include "weights/archive_value.h"
#include "weights/safetensors.h"

namespace tessera {

/// A denoiser of facebookresearch/DiT or of MHLA's code built on it, in one file: a bare state dict or a training
/// checkpoint ({"ema", "model", "args", ...}; the ema is taken), as a PyTorch archive or safetensors.
struct DitCheckpoint {
  DitConfig config;
  nlohmann::json class_names;      ///< id2label of the file beside it; null without
  bool block_positions = false;    ///< its positions are stored in the order of blocks, not of the raster
  std::vector<std::string> notes;  ///< for the user
};

/// Whether a file is such a checkpoint, by the names in it. Throws Error for an archive that is damaged.
bool is_dit_checkpoint(const std::filesystem::path& path);

/// What a checkpoint says of its network: sizes from the tensors' shapes; heads from its args, or from the table of
/// published models (DiT-S, B, L, XL by width and depth); MHLA's block size from its mixing matrix, checked against
/// args and `block_size`. What else it does not say stands in a JSON file beside it, named like it (x.json for x.pt):
/// {"num_heads": 16, "block_size": 16, "position_order": "raster" | "blocks", "num_classes": 1000, "id2label": {...}}.
/// Throws Error naming the file and what to write there, or the tensor that is missing or contradicts another.
DitCheckpoint read_dit_checkpoint(const std::filesystem::path& path, const std::optional<int64_t>& block_size);

/// The same from the tensors (in the original names; only their shapes are looked at), the args (none: ArchiveValue())
/// and the content of the file beside them.
DitCheckpoint describe_dit(const TensorFile& tensors, const ArchiveValue& args, const JsonConfig& beside,
                           const std::optional<int64_t>& block_size);

/// The row of a position table in raster order that stands at each place of the order by blocks, int64 [tokens].
at::Tensor block_order(const DitConfig& config);

}  // namespace tessera
