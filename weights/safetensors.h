#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tessera {

/// Named tensors read from one or more files. Tensors of a mapped file are views into the map, which they keep alive.
class TensorFile {
 public:
  TensorFile(std::map<std::string, at::Tensor> tensors, std::string where,
             std::map<std::string, std::string> metadata = {})
      : tensors_(std::move(tensors)), where_(std::move(where)), metadata_(std::move(metadata)) {}

  /// nullptr when absent.
  const at::Tensor* find(const std::string& name) const;
  /// Throws Error naming the file and the nearest present name.
  const at::Tensor& at(const std::string& name) const;
  std::vector<std::string> names() const;
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }
  /// The file (or index) as the user named it, for messages.
  const std::string& where() const { return where_; }
  /// The strings of the header's __metadata__; empty when it has none.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::map<std::string, at::Tensor> tensors_;
  std::string where_;
  std::map<std::string, std::string> metadata_;
};

/// Maps a safetensors file copy-on-write: nothing is copied until written to, and nothing written reaches the file.
/// Every tensor is contiguous, on the CPU, in the file's dtype. Throws Error naming the file, the tensor and the byte
/// counts when the header is wrong: truncated, overlapping, out of range, wrong size for its shape, unknown dtype,
/// duplicate names. Source: the safetensors format description, v0.4.
/// Replacing the file by rename, as write_safetensors does, leaves its tensors unchanged; truncating it in place takes
/// their bytes away (see FileMap).
TensorFile read_safetensors(const std::filesystem::path& path);

/// Writes tensors (on any device; made contiguous) through AtomicFile. `metadata` goes to the header's __metadata__.
/// Equal input gives equal bytes.
/// With `dtype`, floating-point tensors are converted to it, one at a time; packed ones must be given one.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {},
                       std::optional<at::ScalarType> dtype = std::nullopt);

/// A tensor that is made when it is written, and forgotten then.
struct TensorToWrite {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> make;  ///< of that dtype and shape, on any device
};

/// The same for tensors that are made one at a time.
void write_safetensors_as_made(const std::filesystem::path& path, const std::map<std::string, TensorToWrite>& tensors,
                               const std::map<std::string, std::string>& metadata = {});

}  // namespace tessera
