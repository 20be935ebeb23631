#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "tests/weights/archive_support.h"

namespace tessera::test {

/// A file as torch.save writes it (torch.load reads it): a dict of tensors or, with `key`, {key: that dict, "step":
/// 500}.
inline void write_torch_archive(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                                const std::string& key = "") {
  using namespace pickle;
  static const std::map<at::ScalarType, std::string> storages = {
      {at::kFloat, "FloatStorage"}, {at::kHalf, "HalfStorage"}, {at::kBFloat16, "BFloat16Storage"}};
  std::map<std::string, std::string> entries = {{"archive/version", "3\n"}};
  std::string dict = kEmptyDict;
  for (const auto& [name, given] : tensors) {
    const at::Tensor values = given.contiguous();
    const std::string storage_key = std::to_string(entries.size());
    entries["archive/data/" + storage_key] =
        std::string(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
    std::string sizes, strides;
    for (const int64_t size : values.sizes()) sizes += integer(size);
    for (const int64_t stride : values.strides()) strides += integer(stride);
    dict += text(name) +
            tensor(storage(storage_key, values.numel(), storages.at(values.scalar_type())), 0, sizes, strides) +
            kSetItem;
  }
  const std::string value =
      key.empty() ? dict : kEmptyDict + text(key) + dict + kSetItem + text("step") + integer(500) + kSetItem;
  entries["archive/data.pkl"] = kBegin + value + kEnd;
  std::ofstream(path, std::ios::binary) << zip_of(entries);
}

}  // namespace tessera::test
