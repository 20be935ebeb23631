#include "weights/gguf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/size_limits.h"
#include "core/text.h"
#include "kernels/packed.h"
#include "weights/file_map.h"
#include "weights/foreign_file.h"
#include "weights/gguf_types.h"
#include "weights/shown.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF data is little-endian");

constexpr uint64_t kLargestAlignment = 1 << 20;
constexpr size_t kLongestName = 1024;
constexpr size_t kLongestValue = 4096;  ///< of a string that is kept; longer ones (a tokenizer's template) are not
constexpr uint64_t kMostSizes = 8;
constexpr int kDeepestArray = 4;

constexpr uint32_t kKinds = 13;

struct Info {
  std::string name;
  std::vector<int64_t> shape;  ///< outermost first
  const GgufType* type;
  uint64_t offset, bytes;
};

/// Reads the header front to back; every read is checked against the end of the file.
class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  template <typename Value>
  Value number(const char* what) {
    Value value;
    std::memcpy(&value, take(sizeof(Value), what).data(), sizeof(Value));
    return value;
  }

  std::string_view text(const char* what) {
    const auto bytes = take(number<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const uint8_t> take(uint64_t count, const char* what) {
    if (count > bytes_.size() - at_)
      fail("is truncated or damaged: " + std::string(what) + " at byte " + std::to_string(at_) + " needs " +
           std::to_string(count) + " bytes, but the file ends after " + std::to_string(bytes_.size() - at_) +
           "; download or copy it again");
    const auto part = bytes_.subspan(at_, count);
    at_ += count;
    return part;
  }

  uint64_t at() const { return at_; }
  uint64_t size() const { return bytes_.size(); }
  [[noreturn]] void fail(const std::string& problem) const { throw Error(where_ + " " + problem); }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& where_;
  uint64_t at_ = 0;
};

GgufValue read_kind(Reader& in, const std::string& key) {
  const auto kind = in.number<uint32_t>("the kind of a value");
  if (kind >= kKinds) in.fail(": key " + plain(key) + " has a value of the unknown kind " + std::to_string(kind));
  return static_cast<GgufValue>(kind);
}

uint64_t width_of(GgufValue kind) {
  switch (kind) {
    case GgufValue::kUint8:
    case GgufValue::kInt8:
    case GgufValue::kBool:
      return 1;
    case GgufValue::kUint16:
    case GgufValue::kInt16:
      return 2;
    case GgufValue::kUint64:
    case GgufValue::kInt64:
    case GgufValue::kFloat64:
      return 8;
    default:
      return 4;
  }
}

std::string number_text(Reader& in, GgufValue kind) {
  constexpr const char* kWhat = "a value";
  switch (kind) {
    case GgufValue::kUint8:
      return std::to_string(in.number<uint8_t>(kWhat));
    case GgufValue::kInt8:
      return std::to_string(in.number<int8_t>(kWhat));
    case GgufValue::kUint16:
      return std::to_string(in.number<uint16_t>(kWhat));
    case GgufValue::kInt16:
      return std::to_string(in.number<int16_t>(kWhat));
    case GgufValue::kUint32:
      return std::to_string(in.number<uint32_t>(kWhat));
    case GgufValue::kInt32:
      return std::to_string(in.number<int32_t>(kWhat));
    case GgufValue::kFloat32:
      return c10::str(in.number<float>(kWhat));
    case GgufValue::kBool:
      return in.number<uint8_t>(kWhat) ? "true" : "false";
    case GgufValue::kUint64:
      return std::to_string(in.number<uint64_t>(kWhat));
    case GgufValue::kInt64:
      return std::to_string(in.number<int64_t>(kWhat));
    default:
      return c10::str(in.number<double>(kWhat));
  }
}

/// The items of an array; whole numbers are returned when there are few, as of a shape.
std::vector<int64_t> read_array(Reader& in, const std::string& key, int depth) {
  if (depth > kDeepestArray) in.fail(": key " + plain(key) + " is nested too deeply");
  const GgufValue kind = read_kind(in, key);
  const auto count = in.number<uint64_t>("the length of an array");
  if (kind == GgufValue::kString || kind == GgufValue::kArray) {
    // Each item has at least the 8 bytes of a length.
    if (count > in.size() / 8) in.fail(": key " + plain(key) + " has more items than the file has room for");
    for (uint64_t i = 0; i < count; ++i)
      if (kind == GgufValue::kString)
        in.text("a string of an array");
      else
        read_array(in, key, depth + 1);
    return {};
  }
  if (count > in.size()) in.fail(": key " + plain(key) + " has more items than the file has bytes");
  const auto items = in.take(count * width_of(kind), "an array");
  std::vector<int64_t> numbers;
  if (kind != GgufValue::kInt32 || count > kMostSizes) return numbers;
  for (uint64_t i = 0; i < count; ++i) {
    int32_t number;
    std::memcpy(&number, items.data() + i * sizeof(number), sizeof(number));
    numbers.push_back(number);
  }
  return numbers;
}

struct Keys {
  std::map<std::string, std::string> values;
  std::map<std::string, std::vector<int64_t>> shapes;  ///< of comfy.gguf.orig_shape.NAME, by NAME
};

Keys read_keys(Reader& in, uint64_t count) {
  Keys keys;
  std::set<std::string_view> seen;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view name = in.text("the name of a key");
    if (name.size() > kLongestName) in.fail(": a key has a name of " + std::to_string(name.size()) + " bytes");
    const std::string key(name);
    if (!seen.insert(name).second) in.fail(": key " + plain(key) + " is there twice");
    const GgufValue kind = read_kind(in, key);
    if (kind == GgufValue::kArray) {
      std::vector<int64_t> numbers = read_array(in, key, 0);
      if (!key.starts_with(kGgufShapeKey)) continue;
      const bool good =
          !numbers.empty() && std::all_of(numbers.begin(), numbers.end(), [](int64_t n) { return n > 0; });
      if (!good) in.fail(": key " + plain(key) + " must be an array of 1 to 8 positive 32-bit numbers");
      keys.shapes[key.substr(kGgufShapeKey.size())] = std::move(numbers);
    } else if (kind == GgufValue::kString) {
      const std::string_view value = in.text("a string");
      if (value.size() <= kLongestValue) keys.values[key] = std::string(value);
    } else {
      keys.values[key] = number_text(in, kind);
    }
  }
  return keys;
}

const GgufType& read_type(Reader& in, const std::string& tensor) {
  const auto number = in.number<uint32_t>("the type of a tensor");
  const auto found =
      std::find_if(kGgufTypes.begin(), kGgufTypes.end(), [&](const auto& type) { return type.number == number; });
  if (found != kGgufTypes.end() && (found->packed || found->plain)) return *found;
  std::vector<std::string> known;
  for (const GgufType& type : kGgufTypes)
    if (type.packed || type.plain) known.emplace_back(type.name);
  const std::string name = found == kGgufTypes.end() ? "number " + std::to_string(number) : found->name;
  in.fail(": tensor " + plain(tensor) + " has type " + name + ", which is not one of " + joined(known));
}

/// Bytes of a tensor; throws when no tensor can have its shape, or rows are no whole number of blocks.
uint64_t byte_count(const Reader& in, const Info& info) {
  int64_t numbers = 1;
  for (const int64_t size : info.shape)
    if (size < 1 || __builtin_mul_overflow(numbers, size, &numbers))
      in.fail(": tensor " + plain(info.name) + " has the impossible shape " + c10::str(at::IntArrayRef(info.shape)));
  if (info.type->packed) {
    const PackedFormat& format = format_of(*info.type->packed);
    if (info.shape.back() % format.numbers != 0)
      in.fail(": tensor " + plain(info.name) + " has rows of " + std::to_string(info.shape.back()) + ", but " +
              format.name + " needs a multiple of " + std::to_string(format.numbers));
    if (const auto bytes = packed_bytes(format.type, numbers)) return static_cast<uint64_t>(*bytes);
  }
  int64_t bytes = 0;
  if (info.type->packed ||
      __builtin_mul_overflow(numbers, static_cast<int64_t>(c10::elementSize(*info.type->plain)), &bytes))
    in.fail(": tensor " + plain(info.name) + " is larger than any file can be");
  return static_cast<uint64_t>(bytes);
}

Info read_info(Reader& in) {
  const std::string_view name = in.text("the name of a tensor");
  if (name.empty() || name.size() > kLongestName)
    in.fail(": a tensor has a name of " + std::to_string(name.size()) + " bytes; want 1 to 1024");
  Info info{.name = std::string(name), .shape = {}, .type = nullptr, .offset = 0, .bytes = 0};
  const auto sizes = in.number<uint32_t>("the number of sizes");
  if (sizes < 1 || sizes > kMostSizes)
    in.fail(": tensor " + plain(info.name) + " has " + std::to_string(sizes) + " sizes; want 1 to 8");
  for (uint32_t i = 0; i < sizes; ++i) {
    const auto size = in.number<uint64_t>("a size");
    info.shape.push_back(static_cast<int64_t>(std::min<uint64_t>(size, INT64_MAX)));
  }
  std::reverse(info.shape.begin(), info.shape.end());
  info.type = &read_type(in, info.name);
  info.offset = in.number<uint64_t>("the offset of a tensor");
  info.bytes = byte_count(in, info);
  return info;
}

uint64_t alignment_of(const Reader& in, const Keys& keys) {
  const auto found = keys.values.find("general.alignment");
  if (found == keys.values.end()) return kGgufAlignment;
  const bool digits = !found->second.empty() && found->second.size() < 10 &&
                      std::all_of(found->second.begin(), found->second.end(), is_digit);
  const uint64_t alignment = digits ? std::stoull(found->second) : 0;
  if (alignment == 0 || alignment > kLargestAlignment || !std::has_single_bit(alignment))
    in.fail(": general.alignment is " + shown(found->second) + ", want a power of 2 up to 1048576");
  return alignment;
}

/// Tensors lie in the data, aligned, one behind the other.
void check_layout(const Reader& in, std::vector<Info>& infos, uint64_t data, uint64_t alignment) {
  std::vector<const Info*> order;
  for (const Info& info : infos) order.push_back(&info);
  std::sort(order.begin(), order.end(), [](const Info* a, const Info* b) { return a->offset < b->offset; });
  uint64_t end = 0;
  for (const Info* info : order) {
    const std::string tensor = ": tensor " + plain(info->name);
    if (info->offset % alignment != 0)
      in.fail(tensor + " begins at byte " + std::to_string(info->offset) + " of the data, want a multiple of " +
              std::to_string(alignment));
    if (info->offset < end) in.fail(tensor + " overlaps the tensor before it");
    if (info->offset > data || info->bytes > data - info->offset)
      in.fail(tensor + " ends at byte " + std::to_string(info->offset) + " + " + std::to_string(info->bytes) +
              " of the data, but the file holds " + std::to_string(data) +
              ": it is truncated or damaged; download or copy it again");
    end = info->offset + info->bytes;
  }
}

/// The shape that the network sees.
std::vector<int64_t> shape_of(const Reader& in, const Info& info, const Keys& keys) {
  const auto found = keys.shapes.find(info.name);
  if (found == keys.shapes.end()) return info.shape;
  int64_t numbers = 1, stored = 1;
  bool fits = true;
  for (const int64_t size : info.shape) stored *= size;
  for (const int64_t size : found->second) fits = fits && !__builtin_mul_overflow(numbers, size, &numbers);
  if (!fits || numbers != stored)
    in.fail(": key " + plain(std::string(kGgufShapeKey) + info.name) + " is " +
            c10::str(at::IntArrayRef(found->second)) + ", which does not hold the numbers of the tensor " +
            c10::str(at::IntArrayRef(info.shape)));
  return found->second;
}

at::Tensor make_tensor(const std::shared_ptr<FileMap>& map, uint8_t* data, const Info& info,
                       const std::vector<int64_t>& shape) {
  const auto keep = [map](void*) {};
  if (info.type->packed) {
    const at::Tensor bytes = at::from_blob(data, {static_cast<int64_t>(info.bytes)}, keep, at::kByte);
    return packed_tensor({.type = *info.type->packed, .shape = shape, .bytes = bytes});
  }
  const auto options = at::TensorOptions().dtype(*info.type->plain);
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(*info.type->plain) == 0)
    return at::from_blob(data, shape, keep, options);
  at::Tensor copy = at::empty(shape, options);
  std::memcpy(copy.data_ptr(), data, info.bytes);
  return copy;
}

/// Reads magic and version and returns the counts of tensors and keys.
std::pair<uint64_t, uint64_t> read_start(Reader& in, const FileMap& map, const std::string& where) {
  if (!map.begins_with(kGgufMagic)) {
    const std::string found = foreign_bytes(map.bytes());
    throw Error(where + " is not a GGUF file" + (found.empty() ? "" : "; " + found));
  }
  in.take(kGgufMagic.size(), "the magic");
  const auto version = in.number<uint32_t>("the version");
  if (version >= 1 << 16) in.fail("is a big-endian GGUF file, which is not supported");
  if (version != 2 && version != 3) in.fail("is a GGUF file of version " + std::to_string(version) + "; want 2 or 3");
  const auto tensors = in.number<uint64_t>("the number of tensors");
  const auto keys = in.number<uint64_t>("the number of keys");
  if (tensors > static_cast<uint64_t>(limits::kHeaderTensors) || keys > static_cast<uint64_t>(limits::kHeaderTensors))
    in.fail("claims " + std::to_string(tensors) + " tensors and " + std::to_string(keys) + " keys; at most " +
            std::to_string(limits::kHeaderTensors) + " are allowed");
  return {tensors, keys};
}

}  // namespace

bool is_gguf(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  char magic[4] = {};
  in.read(magic, sizeof(magic));
  return in && std::string_view(magic, sizeof(magic)) == kGgufMagic;
}

TensorFile read_gguf(const std::filesystem::path& path) {
  const std::string where = path.string();
  refuse_unfinished(path);
  const auto map = std::make_shared<FileMap>(path, "a GGUF file");
  Reader in(map->bytes(), where);
  const auto [count, key_count] = read_start(in, *map, where);
  const Keys keys = read_keys(in, key_count);
  std::vector<Info> infos;
  for (uint64_t i = 0; i < count; ++i) infos.push_back(read_info(in));
  const uint64_t alignment = alignment_of(in, keys);
  const uint64_t begin = std::min((in.at() + alignment - 1) / alignment * alignment, map->size());
  check_layout(in, infos, map->size() - begin, alignment);
  std::map<std::string, at::Tensor> tensors;
  for (const Info& info : infos)
    if (!tensors.emplace(info.name, make_tensor(map, map->data() + begin + info.offset, info, shape_of(in, info, keys)))
             .second)
      in.fail(": tensor " + plain(info.name) + " is there twice");
  return {std::move(tensors), where, keys.values};
}

}  // namespace tessera
