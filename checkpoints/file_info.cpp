#include "checkpoints/file_info.h"

#include <ATen/core/Tensor.h>

#include <cstdio>

#include "core/device.h"
#include "core/error.h"
#include "core/text.h"
#include "kernels/packed.h"
#include "weights/gguf.h"
#include "weights/npz.h"
#include "weights/shown.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr size_t kMostValues = 200;  ///< plain values that are listed
constexpr size_t kLongestList = 16;  ///< items of a list that are shown

void add(TensorGroup& group, const std::string& name, const std::string& dtype, std::vector<int64_t> shape) {
  int64_t numbers = 1;
  for (const int64_t size : shape) numbers *= size;
  group.tensors.push_back({name, dtype, std::move(shape), numbers});
  group.numbers += numbers;
  group.dtypes[dtype] += numbers;
}

void add(TensorGroup& group, const std::string& name, const at::Tensor& tensor) {
  add(group, name, number_format(tensor), tensor.sizes().vec());
}

std::string key_text(const ArchiveValue& key) {
  if (key.text()) return *key.text();
  if (key.integer()) return std::to_string(*key.integer());
  return "(" + key.description() + ")";
}

/// A value on one line; containers of plain values in brackets, everything else by its description.
std::string value_text(const ArchiveValue& value, int depth = 0) {
  if (value.is_none()) return "null";
  if (const auto flag = value.boolean()) return *flag ? "true" : "false";
  if (const auto whole = value.integer()) return std::to_string(*whole);
  if (const auto number = value.number()) return ordered_json(*number).dump();
  if (value.text()) return shown(*value.text());
  const auto* items = value.items();
  if (!items || depth > 2 || items->size() > kLongestList) return value.description();
  return "[" + joined(*items, ", ", [&](const ArchiveValue& item) { return value_text(item, depth + 1); }) + "]";
}

/// Walks an archive: tensors go to the group of the first key on their path, other values to the list.
class ArchiveWalk {
 public:
  explicit ArchiveWalk(FileInfo& info) : info_(info) {}

  void visit(const ArchiveValue& value, const std::string& group, const std::string& name) {
    if (value.tensor()) return add(group_of(group), name, *value.tensor());
    const auto* entries = value.entries();
    const bool object_without_fields = value.class_name() && entries->empty();
    if (entries && !object_without_fields) {
      for (const auto& [key, entry] : *entries) {
        const std::string text = key_text(key);
        const bool top = group.empty() && name.empty();
        if (top && entry.entries())
          visit(entry, text, "");
        else
          visit(entry, group, name.empty() ? text : name + "." + text);
      }
      return;
    }
    if (const auto* items = value.items(); items && holds_tensors(*items)) {
      for (size_t i = 0; i < items->size(); ++i)
        visit((*items)[i], group, (name.empty() ? "" : name + ".") + std::to_string(i));
      return;
    }
    if (info_.values.size() < kMostValues)
      info_.values.emplace_back(group.empty() || name.empty() ? group + name : group + "." + name, value_text(value));
  }

 private:
  static bool holds_tensors(const std::vector<ArchiveValue>& items) {
    for (const auto& item : items)
      if (item.tensor() || item.entries()) return true;
    return false;
  }
  TensorGroup& group_of(const std::string& name) {
    for (auto& group : info_.groups)
      if (group.name == name) return group;
    return info_.groups.emplace_back(TensorGroup{name, {}, 0, {}});
  }

  FileInfo& info_;
};

void read_archive(FileInfo& info) {
  info.kind = "PyTorch archive";
  const TorchArchive archive = load_torch_archive(info.path);
  ArchiveWalk(info).visit(archive.root, "", "");
  info.skipped = archive.skipped;
}

void read_npz(FileInfo& info) {
  info.kind = "NumPy archive";
  const NpzFile file(info.path);
  TensorGroup group;
  for (const auto& name : file.names()) {
    const NpyHeader header = file.header(name);
    add(group, name, header.descr, header.shape);
  }
  info.groups.push_back(std::move(group));
}

void read_mapped_info(FileInfo& info) {
  const bool gguf = is_gguf(info.path);
  info.kind = gguf ? "GGUF" : "safetensors";
  const TensorFile file = gguf ? read_gguf(info.path) : read_safetensors(info.path);
  TensorGroup group;
  for (const auto& [name, tensor] : file.tensors()) add(group, name, tensor);
  info.groups.push_back(std::move(group));
  for (const auto& [key, text] : file.metadata()) info.values.emplace_back(key, shown(text));
}

std::string dtypes_text(const std::map<std::string, int64_t>& dtypes) {
  return joined(dtypes, "+", [](const auto& entry) { return entry.first; });
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return shape.empty() ? "scalar" : joined(shape, " x ");
}

}  // namespace

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string size_in_bytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double size = static_cast<double>(bytes);
  size_t unit = 0;
  for (; size >= 1000 && unit < 4; ++unit) size /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", size, kUnits[unit]);
  return text;
}

FileInfo read_file_info(const fs::path& path) {
  FileInfo info;
  info.path = path;
  std::error_code problem;
  info.bytes = static_cast<int64_t>(fs::file_size(path, problem));
  if (problem) throw Error("cannot read " + path.string() + ": " + problem.message());
  if (path.extension() == ".npz")
    read_npz(info);
  else if (is_torch_archive(path))
    read_archive(info);
  else
    read_mapped_info(info);
  return info;
}

ordered_json to_json(const FileInfo& info) {
  ordered_json groups = ordered_json::array();
  for (const auto& group : info.groups) {
    ordered_json tensors = ordered_json::object();
    for (const auto& tensor : group.tensors) tensors[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}};
    groups.push_back(
        {{"name", group.name}, {"numbers", group.numbers}, {"dtypes", group.dtypes}, {"tensors", tensors}});
  }
  ordered_json values = ordered_json::object();
  for (const auto& [name, text] : info.values) {
    const auto value = ordered_json::parse(text, nullptr, false);
    values[name] = value.is_discarded() ? ordered_json(text) : value;
  }
  return {{"file", info.path.string()}, {"kind", info.kind}, {"bytes", info.bytes},
          {"groups", groups},           {"values", values},  {"objects_not_made", info.skipped}};
}

std::string to_text(const FileInfo& info, bool all_tensors) {
  std::string out = info.path.string() + ": " + info.kind + ", " + size_in_bytes(info.bytes) + "\n\n";
  char line[320];
  for (const auto& group : info.groups) {
    std::snprintf(line, sizeof line, "  %-16.40s %6zu tensors %15s numbers  %.60s\n",
                  group.name.empty() ? "tensors" : plain(group.name).c_str(), group.tensors.size(),
                  grouped(group.numbers).c_str(), dtypes_text(group.dtypes).c_str());
    out += line;
    for (size_t i = 0; all_tensors && i < group.tensors.size(); ++i) {
      const TensorInfo& tensor = group.tensors[i];
      out += "    " + plain(tensor.name) + "  " + shape_text(tensor.shape) + "  " + tensor.dtype + "\n";
    }
  }
  for (const auto& [name, text] : info.values) out += "  " + plain(name) + ": " + text + "\n";
  if (!info.skipped.empty()) {
    out += "  Python objects that were not created:";
    for (const auto& name : info.skipped) out += " " + plain(name);
    out += "\n";
  }
  return out;
}

}  // namespace tessera
