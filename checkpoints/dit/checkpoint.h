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
  bool block_positions = false;    ///< its positions are stored in block order, not raster order
  std::vector<std::string> notes;  ///< for the user
};

/// Whether a file is such a checkpoint, by its tensor names. Throws Error for a damaged archive.
bool is_dit_checkpoint(const std::filesystem::path& path);

/// The network of a checkpoint: sizes from the tensors' shapes; heads from its args, or from the table of published
/// models (DiT-S, B, L, XL by width and depth); MHLA's block size from its mixing matrix, checked against args and
/// `block_size`. What it does not say may be given in a JSON file of the same name beside it (x.json for x.pt):
/// {"num_heads": 16, "block_size": 16, "position_order": "raster" | "blocks", "num_classes": 1000, "id2label": {...}}.
/// Throws Error naming the file and what to write to it, or the tensor that is missing or contradicts another.
DitCheckpoint read_dit_checkpoint(const std::filesystem::path& path, const std::optional<int64_t>& block_size);

/// The same from the tensors (under their original names; only shapes are read), the args (none: ArchiveValue()) and
/// the content of the file beside them.
DitCheckpoint describe_dit(const TensorFile& tensors, const ArchiveValue& args, const JsonConfig& beside,
                           const std::optional<int64_t>& block_size);

/// For each position in block order, its row in a position table in raster order, int64 [tokens].
at::Tensor block_order(const DitConfig& config);

}  // namespace tessera
