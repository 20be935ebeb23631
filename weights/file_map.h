#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace tessera {

/// A whole file mapped copy-on-write: writing to the memory never reaches the file. The map may be larger than the
/// machine's memory; only touched pages are loaded. If another program truncates the file in place, reading the lost
/// bytes ends this process (SIGBUS).
class FileMap {
 public:
  /// Throws Error when there is no such regular file or it cannot be mapped; `wanted` is what the message says was
  /// expected, e.g. "a safetensors file".
  FileMap(const std::filesystem::path& path, std::string_view wanted);
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  uint64_t size() const { return size_; }
  std::span<const uint8_t> bytes() const { return {data(), size_}; }
  bool begins_with(std::string_view text) const;

 private:
  void* data_ = nullptr;
  uint64_t size_ = 0;
};

/// Tells the system that the pages of a tensor inside a FileMap need not stay in memory: they are read from the file
/// again when touched (anything written to them is lost). Does nothing to other tensors.
void forget_pages(const at::Tensor& tensor);

}  // namespace tessera
