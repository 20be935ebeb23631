#include "weights/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/json_syntax.h"
#include "core/size_limits.h"
#include "core/text.h"
#include "kernels/packed.h"
#include "weights/file_map.h"
#include "weights/foreign_file.h"

namespace tessera {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr uint64_t kLengthBytes = 8;
constexpr int kDeepestHeader = 3;  // {name: {shape: [..]}}

struct StoredDtype {
  const char* name;
  at::ScalarType type;
};
constexpr StoredDtype kDtypes[] = {
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U64", at::kUInt64},
    {"U32", at::kUInt32},
    {"U16", at::kUInt16},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
};

std::string known_dtypes() {
  return joined(kDtypes, ", ", [](const StoredDtype& dtype) { return dtype.name; });
}

/// JSON text on one line and of bounded length, for messages about hostile headers.
std::string shown_json(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 120) text.replace(117, std::string::npos, "...");
  return text;
}

/// One entry of the header; begin and end are bytes from the end of the header.
struct Entry {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

/// Throws when the file is known to be something else.
void refuse_other_format(const FileMap& map, const std::string& where) {
  std::string found = foreign_bytes(map.bytes());
  if (found.empty() && map.begins_with("PK\x03\x04")) found = "it is a PyTorch or ZIP archive";
  if (!found.empty()) throw Error(where + " is not a safetensors file; " + found);
}

uint64_t header_length(const FileMap& map, const std::string& where) {
  uint64_t length = 0;
  if (map.size() >= kLengthBytes) std::memcpy(&length, map.data(), kLengthBytes);
  if (length == 0 || length > limits::kHeaderBytes || length > map.size() - kLengthBytes)
    refuse_other_format(map, where);
  if (map.size() < kLengthBytes)
    throw Error(where + " is truncated: " + counted(static_cast<int64_t>(map.size()), "byte") +
                ", but a safetensors file has at least 8; download or copy it again");
  if (length > limits::kHeaderBytes)
    throw Error(where + " is not a safetensors file: its first 8 bytes claim a header of " + std::to_string(length) +
                " bytes, but at most " + std::to_string(limits::kHeaderBytes) + " are allowed");
  if (length > map.size() - kLengthBytes)
    throw Error(where + " is truncated or not a safetensors file: its header should have " + std::to_string(length) +
                " bytes, but only " +
                counted(static_cast<int64_t>(map.size() - kLengthBytes), "byte follows", "bytes follow") +
                " the length; download or copy it again");
  return length;
}

json parse_header(const char* text, uint64_t length, const std::string& where) {
  constexpr int64_t kValuesOfTensor = 16;  // on average, more than enough
  std::vector<std::set<std::string>> keys(kDeepestHeader + 2);
  int64_t values = 0;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepestHeader) throw Error(where + ": its header is nested too deeply for a safetensors file");
    if (++values > limits::kHeaderTensors * kValuesOfTensor ||
        keys[1].size() > static_cast<size_t>(limits::kHeaderTensors))
      throw Error(where + ": its header describes more than " + std::to_string(limits::kHeaderTensors) +
                  " tensors, which no model has");
    if (event == json::parse_event_t::object_start) keys[static_cast<size_t>(depth) + 1].clear();
    if (event == json::parse_event_t::key && !keys[static_cast<size_t>(depth)].insert(value.get<std::string>()).second)
      throw Error(where + ": its header names " + shown_json(value) + " twice");
    return true;
  };
  json header;
  try {
    header = json::parse(text, text + length, watch);
  } catch (const json::exception&) {
    const auto mistake = find_json_mistake({text, length});
    throw Error(where + ": its header is not valid JSON (byte-level damage, or not a safetensors file)" +
                (mistake ? ": column " + std::to_string(mistake->column) + ": " + mistake->problem : ""));
  }
  if (!header.is_object()) throw Error(where + ": its header is " + header.type_name() + ", want a JSON object");
  return header;
}

at::ScalarType parse_dtype(const json& info, const std::string& at_tensor) {
  if (!info.contains("dtype") || !info["dtype"].is_string()) throw Error(at_tensor + " has no \"dtype\" string");
  for (const auto& known : kDtypes)
    if (info["dtype"] == known.name) return known.type;
  throw Error(at_tensor + " has dtype " + shown_json(info["dtype"]) + ", which is not one of " + known_dtypes());
}

/// The array `key`, of whole numbers in [0, 2^63).
std::vector<int64_t> parse_numbers(const json& info, const char* key, const std::string& at_tensor) {
  if (!info.contains(key) || !info[key].is_array()) throw Error(at_tensor + " has no \"" + key + "\" array");
  std::vector<int64_t> numbers;
  for (const auto& item : info[key]) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
      throw Error(at_tensor + ": \"" + key + "\" must hold whole numbers from 0 to 2^63 - 1, got " +
                  shown_json(info[key]));
    numbers.push_back(item.get<int64_t>());
  }
  return numbers;
}

/// Bytes of a tensor; throws when no tensor in memory can have its shape.
uint64_t byte_count(const Entry& entry, const json& info, const std::string& at_tensor) {
  if (entry.shape.size() > limits::kDimensions)
    throw Error(at_tensor + " has " + std::to_string(entry.shape.size()) + " dimensions, but at most 64 are allowed");
  // Strides are products of max(size, 1), so these must fit even when another dimension is zero.
  int64_t bytes = static_cast<int64_t>(c10::elementSize(entry.dtype));
  bool empty = false;
  for (const int64_t size : entry.shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes))
      throw Error(at_tensor + ": its shape " + shown_json(info["shape"]) + " is larger than any file can be");
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

Entry parse_entry(const std::string& name, const json& info, uint64_t data_bytes, const std::string& where) {
  const std::string at_tensor = where + ": tensor " + shown_json(name);
  if (!info.is_object()) throw Error(at_tensor + " is described by " + info.type_name() + ", want an object");
  Entry entry{name, parse_dtype(info, at_tensor), parse_numbers(info, "shape", at_tensor), 0, 0};
  const auto offsets = parse_numbers(info, "data_offsets", at_tensor);
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    throw Error(at_tensor + ": \"data_offsets\" must be [begin, end], got " + shown_json(info["data_offsets"]));
  entry.begin = static_cast<uint64_t>(offsets[0]);
  entry.end = static_cast<uint64_t>(offsets[1]);
  const uint64_t want = byte_count(entry, info, at_tensor);
  if (entry.end - entry.begin != want)
    throw Error(at_tensor + " has " + std::to_string(entry.end - entry.begin) + " bytes, but its shape " +
                shown_json(info["shape"]) + " of " + shown_json(info["dtype"]) + " needs " + std::to_string(want));
  if (entry.end > data_bytes)
    throw Error(at_tensor + " ends at byte " + std::to_string(entry.end) + " of the data, but the file holds " +
                std::to_string(data_bytes) + ": it is truncated or damaged; download or copy it again");
  return entry;
}

/// The tensors must cover the data exactly: in file order, each begins where the previous one ended.
void check_layout(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& where) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  const Entry* last = nullptr;
  for (const auto& entry : entries) {
    const std::string at_tensor = where + ": tensor " + shown_json(entry.name);
    if (entry.begin < covered)
      throw Error(at_tensor + " overlaps tensor " + shown_json(last->name) + " (it begins at byte " +
                  std::to_string(entry.begin) + ", the other ends at " + std::to_string(covered) + ")");
    if (entry.begin > covered)
      throw Error(at_tensor + " begins at byte " + std::to_string(entry.begin) + ", want " + std::to_string(covered) +
                  ": the bytes between them belong to no tensor");
    covered = entry.end;
    last = &entry;
  }
  if (covered != data_bytes)
    throw Error(where + ": its tensors end at byte " + std::to_string(covered) + " of the data, but the file holds " +
                std::to_string(data_bytes) + ": the bytes after them belong to no tensor");
}

at::Tensor make_tensor(const Entry& entry, const std::shared_ptr<FileMap>& map, uint64_t data_begin) {
  const auto options = at::TensorOptions().dtype(entry.dtype);
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  uint8_t* data = map->data() + data_begin + entry.begin;
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.dtype) == 0)
    return at::from_blob(
        data, entry.shape, [map](void*) {}, options);
  // Old writers did not pad the header, so their data may be unaligned.
  at::Tensor copy = at::empty(entry.shape, options);
  std::memcpy(copy.data_ptr(), data, entry.end - entry.begin);
  return copy;
}

std::map<std::string, std::string> parse_metadata(const json& info, const std::string& where) {
  if (!info.is_object())
    throw Error(where + ": its __metadata__ is " + info.type_name() + ", want an object of strings");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : info.items()) {
    if (!value.is_string())
      throw Error(where + ": its __metadata__ " + shown_json(key) + " is " + value.type_name() + ", want a string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

const char* stored_name(at::ScalarType type, const std::string& tensor) {
  for (const auto& known : kDtypes)
    if (known.type == type) return known.name;
  TORCH_CHECK(false, "tensor ", tensor, " is ", type, ", which safetensors cannot hold");
}

}  // namespace

const at::Tensor* TensorFile::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const at::Tensor& TensorFile::at(const std::string& name) const {
  if (const at::Tensor* found = find(name)) return *found;
  const std::string near = nearest_match(name, names());
  throw Error(where_ + " has no tensor \"" + name + "\"" + (near.empty() ? "" : " (did you mean " + near + "?)"));
}

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : tensors_) out.push_back(name);
  return out;
}

TensorFile read_safetensors(const std::filesystem::path& path) {
  const std::string where = path.string();
  refuse_unfinished(path);
  const auto map = std::make_shared<FileMap>(path, "a safetensors file");
  const uint64_t length = header_length(*map, where);
  const uint64_t data_begin = kLengthBytes + length, data_bytes = map->size() - data_begin;
  const json header = parse_header(reinterpret_cast<const char*>(map->data()) + kLengthBytes, length, where);
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  for (const auto& [name, info] : header.items()) {
    if (name == "__metadata__")
      metadata = parse_metadata(info, where);
    else
      entries.push_back(parse_entry(name, info, data_bytes, where));
  }
  check_layout(entries, data_bytes, where);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : entries) tensors[entry.name] = make_tensor(entry, map, data_begin);
  return {std::move(tensors), where, std::move(metadata)};
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata, std::optional<at::ScalarType> dtype) {
  std::map<std::string, TensorToWrite> plan;
  for (const auto& [name, tensor] : tensors) {
    TORCH_CHECK(tensor.defined(), "tensor ", name, " is undefined");
    TORCH_CHECK(dtype || !packed_weight(tensor), "tensor ", name, " is packed and needs a dtype");
    const at::ScalarType stored = dtype && tensor.is_floating_point() ? *dtype : tensor.scalar_type();
    plan[name] = {stored, tensor.sizes().vec(), [tensor = tensor, stored] {
                    return packed_weight(tensor) ? unpacked(tensor, stored) : tensor.detach().cpu().to(stored);
                  }};
  }
  write_safetensors_as_made(path, plan, metadata);
}

void write_safetensors_as_made(const std::filesystem::path& path, const std::map<std::string, TensorToWrite>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::vector<std::pair<std::string, TensorToWrite>> order(tensors.begin(), tensors.end());
  // Wide elements first: every tensor is aligned without padding.
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return c10::elementSize(a.second.dtype) > c10::elementSize(b.second.dtype);
  });
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const auto& [name, tensor] : order) {
    TORCH_CHECK(name != "__metadata__", "a tensor may not be named __metadata__");
    const auto numbers = static_cast<size_t>(c10::multiply_integers(tensor.shape));
    const size_t end = offset + numbers * c10::elementSize(tensor.dtype);
    header[name] = {
        {"dtype", stored_name(tensor.dtype, name)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::type_error&) {
    throw Error("cannot write " + path.string() + ": a tensor name or a metadata string is not UTF-8");
  }
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  const uint64_t length = text.size();
  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&length), kLengthBytes});
  file.write(text);
  for (const auto& [name, tensor] : order) {
    const at::Tensor made = tensor.make().cpu().contiguous();
    TORCH_CHECK(made.scalar_type() == tensor.dtype && made.sizes() == at::IntArrayRef(tensor.shape), "tensor ", name,
                " is not what was announced");
    file.write({static_cast<const char*>(made.const_data_ptr()), made.nbytes()});
  }
  file.commit();
}

}  // namespace tessera
