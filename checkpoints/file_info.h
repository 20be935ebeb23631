#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera {

/// One tensor or array of a file.
struct TensorInfo {
  std::string name, dtype;
  std::vector<int64_t> shape;
  int64_t numbers = 0;
};

/// Tensors stored together, e.g. the "ema" of a training checkpoint.
struct TensorGroup {
  std::string name;  ///< its key in the file; "" for the top level
  std::vector<TensorInfo> tensors;
  int64_t numbers = 0;
  std::map<std::string, int64_t> dtypes;  ///< dtype -> count of numbers
};

/// What a single file holds: safetensors, GGUF, an archive of torch.save, or a NumPy archive.
struct FileInfo {
  std::filesystem::path path;
  std::string kind;  ///< "safetensors", "GGUF", "PyTorch archive" or "NumPy archive"
  int64_t bytes = 0;
  std::vector<TensorGroup> groups;
  std::vector<std::pair<std::string, std::string>> values;  ///< plain values by dotted name, as JSON, e.g. "args.lr"
  std::vector<std::string> skipped;                         ///< classes of Python objects that were not created
};

/// Reads headers only, no weights. Throws Error when the file is of another kind or damaged.
FileInfo read_file_info(const std::filesystem::path& path);

/// For --json.
nlohmann::ordered_json to_json(const FileInfo& info);

/// For people: several lines, each ending in a newline; with `all_tensors`, one for every tensor.
std::string to_text(const FileInfo& info, bool all_tensors);

/// "1,234,567".
std::string grouped(int64_t number);
/// "12.3 MB", in powers of 1000.
std::string size_in_bytes(int64_t bytes);

}  // namespace tessera
