#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "training/data_items.h"

namespace tessera {

/// One encoded clip or picture of a cache.
struct CachedClip {
  std::string name;     ///< of the item it is from
  std::string latents;  ///< key: the file latents/KEY.safetensors
  std::string text;     ///< key: the file texts/KEY.safetensors
  std::string caption;
  std::vector<int64_t> shape;  ///< of the latents, [z, t, h, w]
};

/// A folder of encoded training data that `tessera train prepare` wrote: index.json, and a file for each clip and for
/// each caption, named by the hash of what it was made from.
struct DataCache {
  std::filesystem::path folder;
  std::string vae, text_encoder;  ///< fingerprints of the networks that encoded it
  int64_t text_length = 512;      ///< rows of text states that the transformer sees, zeros beyond the caption
  std::string empty_text;         ///< key of the caption ""
  std::vector<CachedClip> clips;
  std::vector<DroppedItem> dropped;

  /// Reads index.json. Throws Error naming the file and key, and when the preparation was not finished.
  static DataCache open(const std::filesystem::path& folder);
  /// Writes index.json, atomically.
  void save() const;

  std::filesystem::path latents_file(const std::string& key) const;
  std::filesystem::path text_file(const std::string& key) const;
  /// Normalized latents [z, t, h, w] float32. Throws Error naming the file when it is damaged or not of that key.
  at::Tensor latents(const CachedClip& clip) const;
  /// Text states [text_length, d] float32. Throws Error likewise.
  at::Tensor text(const std::string& key) const;
};

/// Writes one tensor of a cache under its key, atomically.
void write_cached(const std::filesystem::path& file, const std::string& key, const at::Tensor& value);

/// The tensor of a file that write_cached wrote. Throws Error when its key is another.
at::Tensor read_cached(const std::filesystem::path& file, const std::string& key);

}  // namespace tessera
