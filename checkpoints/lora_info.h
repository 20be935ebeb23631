#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

namespace tessera {

/// What `tessera info` shows of a LoRA.
struct LoraInfo {
  std::filesystem::path path;
  int64_t bytes = 0;
  std::string layout;                     ///< whose names it has: "diffusers", "kohya", ...
  std::string base;                       ///< the model it was trained on, as the file says or as its shapes tell
  std::map<int64_t, int64_t> ranks;       ///< rank -> how many layers have it
  std::set<double> scales;                ///< alpha / rank of those
  std::map<std::string, int64_t> layers;  ///< layer without its block's number, "blocks.N.attn1.to_q" -> in how many
  int64_t differences = 0;                ///< layers with a `.diff` or `.diff_b`
  std::map<std::string, int64_t> dtypes;  ///< dtype -> numbers
  int64_t unknown = 0;                    ///< tensors that are no part of a LoRA
  std::string refusal;                    ///< why --lora refuses it; "" when it does not

  /// A layer of a text encoder among those of a transformer.
  bool has_text_encoder() const;
};

/// Reads the headers of a LoRA, and its alphas. nullopt for a file or a folder that is none.
std::optional<LoraInfo> read_lora_info(const std::filesystem::path& path);

/// For --json.
nlohmann::ordered_json to_json(const LoraInfo& info);
/// For people: several lines, each ending in a newline.
std::string to_text(const LoraInfo& info);

}  // namespace tessera
