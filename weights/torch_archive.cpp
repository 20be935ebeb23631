#include "weights/torch_archive.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "weights/file_map.h"
#include "weights/foreign_file.h"
#include "weights/pickle.h"
#include "weights/shown.h"
#include "weights/torch_rebuild.h"
#include "weights/zip_directory.h"

namespace tessera {
namespace {

using StoragePart = std::shared_ptr<ArchiveValue::Storage>;

constexpr std::string_view kZipMagic("PK\x03\x04", 4);
// The first pickle of the older format is the number 0x1950a86a20f9469cfc6c.
constexpr std::string_view kLegacyMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 15);
constexpr const char* kResave = "; load it in PyTorch 2 and save its state_dict again with torch.save";

/// A storage as named by a persistent id: ("storage", type, key, location, elements[, view]).
struct StorageId {
  std::string key;
  std::optional<at::ScalarType> dtype;
  int64_t bytes = 0;
  const ArchiveValue* view = nullptr;  ///< (key, offset, elements) in very old files, else nullptr
};

StorageId parse_storage_id(const ArchiveValue& id, const std::string& where) {
  const auto* parts = id.items();
  const std::string* type = parts && parts->size() >= 5 ? (*parts)[1].class_name() : nullptr;
  if (!type || !(*parts)[0].text() || *(*parts)[0].text() != "storage" || !(*parts)[2].text() || !(*parts)[4].integer())
    throw Error(where + ": its pickle is damaged: a storage is named by " + id.description() +
                "; want (\"storage\", type, key, location, size)");
  StorageId read{*(*parts)[2].text(), std::nullopt, *(*parts)[4].integer(), nullptr};
  const bool untyped = type->ends_with(".UntypedStorage");
  const std::string name = type->substr(type->rfind('.') + 1);
  read.dtype = untyped || !type->starts_with("torch.") || !name.ends_with("Storage") ? std::nullopt : torch_dtype(name);
  if (!untyped && !read.dtype)
    throw Error(where + ": storage " + shown(read.key) + " is a " + shown(*type) +
                ", which is not supported (quantized, or not a storage)" + kResave + " as a floating dtype");
  const auto width = static_cast<int64_t>(untyped ? 1 : c10::elementSize(*read.dtype));
  if (read.bytes < 0 || __builtin_mul_overflow(read.bytes, width, &read.bytes))
    throw Error(where + ": storage " + shown(read.key) + " has an impossible number of elements, " +
                std::to_string(*(*parts)[4].integer()));
  if (parts->size() > 5 && !(*parts)[5].is_none()) read.view = &(*parts)[5];
  return read;
}

StoragePart make_storage(const StorageId& id) {
  c10::Storage storage(c10::Storage::use_byte_size_t(), id.bytes,
                       c10::DataPtr(nullptr, c10::Device(c10::DeviceType::CPU)), nullptr, false);
  return std::make_shared<ArchiveValue::Storage>(ArchiveValue::Storage{std::move(storage), id.dtype, id.key});
}

/// Gives the storage its bytes: the mapped ones when they are aligned, else a copy.
void attach(ArchiveValue::Storage& storage, const std::shared_ptr<FileMap>& map, uint64_t begin) {
  constexpr uintptr_t kAlignment = 8;  // enough for every dtype
  const size_t size = storage.bytes.nbytes();
  if (size == 0) return;
  uint8_t* data = map->data() + begin;
  if (reinterpret_cast<uintptr_t>(data) % kAlignment == 0) {
    auto* keep = new std::shared_ptr<FileMap>(map);
    storage.bytes.set_data_ptr_noswap(c10::DataPtr(
        data, keep, [](void* held) { delete static_cast<std::shared_ptr<FileMap>*>(held); },
        c10::Device(c10::DeviceType::CPU)));
    return;
  }
  c10::DataPtr copy = c10::GetAllocator(c10::DeviceType::CPU)->allocate(size);
  std::memcpy(copy.get(), data, size);
  storage.bytes.set_data_ptr_noswap(std::move(copy));
}

PickleHooks hooks_of(const std::string& where, std::function<ArchiveValue(const ArchiveValue&)> persistent) {
  return {std::move(persistent),
          [&where](const std::string& name, const std::vector<ArchiveValue>& arguments) {
            return rebuild(name, arguments, where);
          },
          rebuild_numpy};
}

TorchArchive archive_of(Unpickled pickle, const std::string& where) {
  std::sort(pickle.skipped.begin(), pickle.skipped.end());
  return {std::move(pickle.value), where, std::move(pickle.skipped)};
}

/// The zip format: <name>/data.pkl, <name>/data/<key> for each storage, <name>/byteorder.
class ZipArchive {
 public:
  ZipArchive(std::shared_ptr<FileMap> map, const std::string& where)
      : map_(std::move(map)), where_(where), entries_(read_zip_directory(map_->bytes(), where)) {
    constexpr std::string_view kPickle = "/data.pkl";
    for (const auto& [name, entry] : entries_)
      if (name.ends_with(kPickle) && name.find('/') == name.size() - kPickle.size()) {
        if (!folder_.empty()) throw Error(where_ + ": it holds two pickles, " + folder_ + "data.pkl and " + name);
        folder_ = name.substr(0, name.size() - kPickle.size() + 1);
      }
    if (folder_.empty()) throw Error(where_ + " is a zip archive, but not one written by torch.save" + hint());
  }

  TorchArchive read() {
    constexpr std::string_view kLittle = "little";
    if (entries_.count(folder_ + "byteorder"))
      if (const auto order = bytes_of("byteorder");
          !std::equal(order.begin(), order.end(), kLittle.begin(), kLittle.end()))
        throw Error(where_ + " was written on a big-endian machine" + kResave + " on a little-endian one");
    const auto hooks = hooks_of(where_, [this](const ArchiveValue& id) { return storage(id); });
    return archive_of(unpickle(bytes_of("data.pkl"), where_, hooks), where_);
  }

 private:
  std::string hint() const {
    if (entries_.empty()) return " (it is empty)";
    for (const auto& [name, entry] : entries_)
      if (name.ends_with(".npy")) return " (it holds numpy arrays, such as " + shown(name) + ")";
    return " (it holds " + shown(entries_.begin()->first) + " and no data.pkl in a folder)";
  }

  const ZipEntry& entry(const std::string& name) const {
    const auto found = entries_.find(folder_ + name);
    if (found == entries_.end()) throw Error(where_ + " has no entry " + shown(folder_ + name) + ": it is damaged");
    if (found->second.compressed)
      throw Error(where_ + ": its entry " + shown(found->first) + " is compressed, which torch.save never does" +
                  kResave);
    return found->second;
  }
  std::span<const uint8_t> bytes_of(const std::string& name) const {
    const ZipEntry& found = entry(name);
    return map_->bytes().subspan(found.begin, found.size);
  }

  ArchiveValue storage(const ArchiveValue& value) {
    const StorageId id = parse_storage_id(value, where_);
    const ZipEntry& found = entry("data/" + id.key);
    if (static_cast<uint64_t>(id.bytes) != found.size)
      throw Error(where_ + ": storage " + shown(id.key) + " has " + std::to_string(found.size) +
                  " bytes in the archive, but its pickle says " + std::to_string(id.bytes) + ": it is damaged");
    StoragePart& part = storages_[id.key];
    if (part && part->dtype == id.dtype) return part;
    const bool first = !part;
    StoragePart made = make_storage(id);
    if (first) {
      attach(*made, map_, found.begin);
      part = made;
    } else {
      made->bytes = part->bytes;
    }
    return made;
  }

  std::shared_ptr<FileMap> map_;
  const std::string& where_;
  std::map<std::string, ZipEntry> entries_;
  std::string folder_;  ///< with its slash
  std::map<std::string, StoragePart> storages_;
};

/// The format before PyTorch 1.6: pickles of a magic number, a version, facts about the machine, the value, and the
/// storages' keys; then for each key its number of elements (8 bytes) and its bytes.
class LegacyArchive {
 public:
  LegacyArchive(std::shared_ptr<FileMap> map, const std::string& where) : map_(std::move(map)), where_(where) {}

  TorchArchive read() {
    next_pickle();
    const auto version = next_pickle().value.integer();
    if (version != 1001) throw Error(where_ + ": its format version is not 1001" + kResave);
    const ArchiveValue machine = next_pickle().value;
    const ArchiveValue* little = machine.find("little_endian");
    if (!little || !little->boolean().value_or(false))
      throw Error(where_ + " was written on a big-endian machine" + kResave + " on a little-endian one");
    TorchArchive archive = archive_of(next_pickle(), where_);
    const ArchiveValue keys = next_pickle().value;
    if (!keys.items())
      throw Error(where_ + " is damaged: after its pickle comes " + keys.description() +
                  ", want the list of its storages");
    for (const auto& key : *keys.items()) read_storage(key);
    for (const auto& [key, part] : storages_)
      if (!attached_.count(key))
        throw Error(where_ + " is truncated or damaged: storage " + shown(key) + " is missing");
    return archive;
  }

 private:
  Unpickled next_pickle() {
    const auto hooks = hooks_of(where_, [this](const ArchiveValue& id) { return storage(id); });
    Unpickled read = unpickle(map_->bytes().subspan(at_), where_, hooks);
    at_ += read.size;
    return read;
  }

  ArchiveValue storage(const ArchiveValue& value) {
    // ("module", class, source file, source) stands for a class.
    if (const auto* parts = value.items(); parts && parts->size() == 4 && (*parts)[0].text() &&
                                           *(*parts)[0].text() == "module" && (*parts)[1].class_name())
      return (*parts)[1];
    const StorageId id = parse_storage_id(value, where_);
    if (id.view)
      throw Error(where_ + ": storage " + shown(id.key) + " is a view of another one, as written by PyTorch 0.3" +
                  kResave);
    if (static_cast<uint64_t>(id.bytes) > map_->size())
      throw Error(where_ + ": storage " + shown(id.key) + " should have " + std::to_string(id.bytes) +
                  " bytes, more than the file has: it is truncated or damaged");
    StoragePart& part = storages_[id.key];
    if (!part) part = make_storage(id);
    if (part->dtype != id.dtype || part->bytes.nbytes() != static_cast<size_t>(id.bytes))
      throw Error(where_ + ": storage " + shown(id.key) + " has two sizes or dtypes: the file is damaged");
    return part;
  }

  void read_storage(const ArchiveValue& value) {
    const auto found = value.text() ? storages_.find(*value.text()) : storages_.end();
    if (found == storages_.end() || !attached_.insert(found->first).second)
      throw Error(where_ + " is damaged: it lists a storage (" +
                  (value.text() ? shown(*value.text()) : "not a string") + ") that no tensor uses, or lists it twice");
    ArchiveValue::Storage& part = *found->second;
    const uint64_t size = part.bytes.nbytes(), width = part.dtype ? c10::elementSize(*part.dtype) : 1;
    uint64_t elements = 0;
    if (map_->size() - at_ < sizeof elements) fail_truncated(part);
    std::memcpy(&elements, map_->data() + at_, sizeof elements);
    at_ += sizeof elements;
    if (elements != size / width)
      throw Error(where_ + ": storage " + shown(part.name) + " has " + std::to_string(elements) +
                  " elements, but its pickle says " + std::to_string(size / width) + ": the file is damaged");
    if (map_->size() - at_ < size) fail_truncated(part);
    attach(part, map_, at_);
    at_ += size;
  }
  [[noreturn]] void fail_truncated(const ArchiveValue::Storage& part) const {
    throw Error(where_ + " is truncated in storage " + shown(part.name) + " of " + std::to_string(part.bytes.nbytes()) +
                " bytes; download or copy it again");
  }

  std::shared_ptr<FileMap> map_;
  const std::string& where_;
  uint64_t at_ = 0;
  std::map<std::string, StoragePart> storages_;
  std::set<std::string> attached_;
};

/// What a file that is not an archive of torch.save seems to be.
std::string other_format_hint(const FileMap& map) {
  if (map.size() > 9 && map.bytes()[8] == '{') return "it looks like a safetensors file: rename it to .safetensors";
  constexpr uint64_t kTarMagic = 257;
  if (map.size() > kTarMagic + 5 && std::memcmp(map.data() + kTarMagic, "ustar", 5) == 0)
    return std::string("it looks like the tar format of PyTorch before 0.2") + kResave;
  if (map.begins_with("\x80")) return std::string("it is a plain pickle") + kResave;
  if (const std::string found = foreign_bytes(map.bytes()); !found.empty()) return found;
  return "it holds " + std::to_string(map.size()) +
         " bytes of something else: download it again and compare its size and hash";
}

}  // namespace

bool is_torch_archive(const std::filesystem::path& path) {
  char magic[kLegacyMagic.size()] = {};
  std::ifstream in(path, std::ios::binary);
  in.read(magic, sizeof magic);
  const std::string_view begins(magic, static_cast<size_t>(in.gcount()));
  const std::string extension = path.extension();
  return begins.starts_with(kZipMagic) || begins.starts_with(kLegacyMagic) || extension == ".pt" ||
         extension == ".pth" || extension == ".bin" || extension == ".ckpt";
}

TorchArchive load_torch_archive(const std::filesystem::path& path) {
  const std::string where = path.string();
  refuse_unfinished(path);
  const auto map = std::make_shared<FileMap>(path, "a file of torch.save (.pt, .pth or .bin)");
  if (map->begins_with(kZipMagic)) return ZipArchive(map, where).read();
  if (map->begins_with(kLegacyMagic)) return LegacyArchive(map, where).read();
  throw Error(where + " was not written by torch.save; " + other_format_hint(*map));
}

TensorFile tensors_of(const TorchArchive& archive, const std::string& key) {
  const ArchiveValue* chosen = key.empty() ? &archive.root : archive.root.find(key);
  const std::string at_dict = archive.where + (key.empty() ? "" : ": its " + shown(key));
  if (!chosen) {
    std::vector<std::string> held;
    if (const auto* entries = archive.root.entries())
      for (size_t i = 0; i < entries->size() && i < 8; ++i)
        if (const std::string* name = (*entries)[i].first.text()) held.push_back(shown(*name));
    throw Error(archive.where + " has no " + shown(key) + "; it holds " +
                (held.empty() ? archive.root.description() : joined(held)));
  }
  if (!chosen->dict_part()) throw Error(at_dict + " is " + chosen->description() + ", want a dict of tensors");
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, value] : *chosen->entries()) {
    if (!name.text()) throw Error(at_dict + " has " + name.description() + " as a key, want a dict of named tensors");
    if (value.is_none()) continue;
    if (!value.tensor())
      throw Error(at_dict + " should hold only tensors, but " + shown(*name.text()) + " is " + value.description());
    if (!tensors.emplace(*name.text(), *value.tensor()).second)
      throw Error(at_dict + " names " + shown(*name.text()) + " twice");
  }
  return {std::move(tensors), archive.where};
}

TensorFile read_torch_archive(const std::filesystem::path& path, const std::vector<std::string>& keys) {
  const TorchArchive archive = load_torch_archive(path);
  for (const auto& key : keys)
    if (const ArchiveValue* found = archive.root.find(key); found && found->dict_part())
      return tensors_of(archive, key);
  return tensors_of(archive);
}

}  // namespace tessera
