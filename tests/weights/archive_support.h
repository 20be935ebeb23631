#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>

namespace tessera::test {

/// Little-endian bytes of a number.
template <class Number>
std::string packed(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

/// A zip archive as torch.save writes it: every entry stored, its bytes at a multiple of 64.
inline std::string zip_of(const std::map<std::string, std::string>& entries) {
  constexpr size_t kAlignment = 64;
  std::string data, directory;
  for (const auto& [name, content] : entries) {
    const size_t header = data.size();
    const size_t padding = (kAlignment - (header + 30 + name.size()) % kAlignment) % kAlignment;
    const auto size = static_cast<uint32_t>(content.size());
    const std::string sizes = packed<uint32_t>(0) + packed(size) + packed(size);  // no checksum
    const std::string dates(4, '\0');
    data += packed<uint32_t>(0x04034b50) + packed<uint16_t>(0) + packed<uint16_t>(0) + packed<uint16_t>(0) + dates +
            sizes + packed(static_cast<uint16_t>(name.size())) + packed(static_cast<uint16_t>(padding)) + name +
            std::string(padding, 'Z') + content;
    directory += packed<uint32_t>(0x02014b50) + packed<uint16_t>(0) + packed<uint16_t>(0) + packed<uint16_t>(0) +
                 packed<uint16_t>(0) + dates + sizes + packed(static_cast<uint16_t>(name.size())) +
                 std::string(12, '\0') + packed(static_cast<uint32_t>(header)) + name;
  }
  const auto count = static_cast<uint16_t>(entries.size());
  return data + directory + packed<uint32_t>(0x06054b50) + packed<uint32_t>(0) + packed(count) + packed(count) +
         packed(static_cast<uint32_t>(directory.size())) + packed(static_cast<uint32_t>(data.size())) +
         packed<uint16_t>(0);
}

/// The bytes of a .pt file with this pickle and these storages by key.
inline std::string archive_bytes(const std::string& pickle, const std::map<std::string, std::string>& storages = {}) {
  std::map<std::string, std::string> entries = {{"archive/data.pkl", pickle}};
  for (const auto& [key, bytes] : storages) entries["archive/data/" + key] = bytes;
  return zip_of(entries);
}

/// Pieces of pickles, by the names of Python's pickletools.
namespace pickle {
inline const std::string kBegin = "\x80\x02", kEnd = ".", kMark = "(", kTuple = "t", kReduce = "R", kBuild = "b",
                         kEmptyDict = "}", kEmptyList = "]", kEmptyTuple = ")", kSetItem = "s", kAppend = "a",
                         kFalse = "\x89", kPersistentId = "Q", kNone = "N";

inline std::string text(const std::string& letters) {
  return "X" + packed(static_cast<uint32_t>(letters.size())) + letters;
}
inline std::string integer(int64_t value) {
  return "\x8a\x08" + packed(value);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string put(uint8_t place) {
  return "q" + packed(place);
}
inline std::string get(uint8_t place) {
  return "h" + packed(place);
}
inline std::string tuple(const std::string& items) {
  return kMark + items + kTuple;
}
/// A persistent id of `elements` elements of the storage type torch.<type>.
inline std::string storage(const std::string& key, int64_t elements, const std::string& type = "FloatStorage") {
  return tuple(text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements)) + kPersistentId;
}
/// A tensor cut from a storage; sizes and strides are made with integer().
inline std::string tensor(const std::string& from, int64_t offset, const std::string& sizes,
                          const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple(from + integer(offset) + tuple(sizes) + tuple(strides) + kFalse + global("collections", "OrderedDict") +
               kEmptyTuple + kReduce) +
         kReduce;
}
/// A whole pickle of the dict {"w": value}.
inline std::string dict_of(const std::string& value) {
  return kBegin + kEmptyDict + text("w") + value + kSetItem + kEnd;
}
}  // namespace pickle

}  // namespace tessera::test
