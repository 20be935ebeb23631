#include "weights/npz.h"

#include <ATen/ATen.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/size_limits.h"
#include "core/text.h"
#include "weights/file_map.h"
#include "weights/foreign_file.h"
#include "weights/shown.h"
#include "weights/zip_directory.h"

namespace tessera {
namespace {

constexpr std::string_view kSuffix = ".npy";
constexpr uint64_t kMostTurned = 1u << 30;  // bytes of an array in Fortran order, which is turned in memory
constexpr uint64_t kMostExpansion = 1032;   // deflate's limit: a larger claim is false
constexpr size_t kMostStep = 1u << 30;      // zlib counts in 32 bits
constexpr uint64_t kLongestText = 1 << 20;

}  // namespace

struct NpzFile::Archive {
  explicit Archive(const std::filesystem::path& path)
      : map(path, "a NumPy archive (.npz) or array (.npy)"), where(path.string()), bare(map.begins_with(kNpyMagic)) {
    refuse_unfinished(path);
    if (bare) {
      entries["arr_0" + std::string(kSuffix)] = {.stored = map.size(), .size = map.size()};
    } else if (map.begins_with("PK")) {
      entries = read_zip_directory(map.bytes(), where);
    } else {
      const std::string found = foreign_bytes(map.bytes());
      throw Error(where + ": want a NumPy archive (.npz, a zip file) or array (.npy), " +
                  (found.empty() ? "found something else" : "but " + found));
    }
  }
  std::string where_of(const std::string& name) const { return bare ? where : where + ", array " + shown(name); }
  const ZipEntry& entry(const std::string& name) const {
    const auto found = entries.find(name + std::string(kSuffix));
    if (found != entries.end()) return found->second;
    throw Error(where + ": it has no array " + shown(name) + ", only " + listing());
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [file, entry] : entries)
      if (file.ends_with(kSuffix)) names.push_back(file.substr(0, file.size() - kSuffix.size()));
    return names;
  }
  std::string listing() const {
    constexpr size_t kShown = 8;
    const std::vector<std::string> all = names();
    std::string text = joined(std::span(all).first(std::min(all.size(), kShown)), ", ", shown);
    if (all.size() > kShown) text += " and " + std::to_string(all.size() - kShown) + " more";
    return all.empty() ? "no arrays" : text;
  }

  FileMap map;
  std::string where;
  bool bare;  ///< a .npy file: no archive and no checksum
  std::map<std::string, ZipEntry> entries;
};

/// The unpacked bytes of one entry, front to back; the last read checks size and CRC-32.
class NpzFile::Stream {
 public:
  Stream(std::shared_ptr<const Archive> archive, const std::string& name)
      : archive_(std::move(archive)), where_(archive_->where_of(name)), entry_(archive_->entry(name)) {
    if (entry_.size > entry_.stored * kMostExpansion + kMostExpansion)
      fail("its directory claims " + std::to_string(entry_.size) + " bytes from " + std::to_string(entry_.stored) +
           ", more than deflate can expand them to");
    zlib_.next_in = archive_->map.data() + entry_.begin;
    left_in_ = entry_.stored;
    if (entry_.compressed && inflateInit2(&zlib_, -MAX_WBITS) != Z_OK) fail("out of memory for unpacking");
  }
  ~Stream() {
    if (entry_.compressed) inflateEnd(&zlib_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Fills `out` whole. Throws Error when the entry has fewer bytes.
  void read(std::span<uint8_t> out) {
    if (out.size() > entry_.size - done_) fail("it ends early: it is truncated or damaged");
    for (size_t at = 0; at < out.size();) {
      const size_t step = std::min(out.size() - at, kMostStep);
      entry_.compressed ? unpack(out.subspan(at, step)) : copy(out.subspan(at, step));
      crc_ = crc32(crc_, out.data() + at, static_cast<uInt>(step));
      at += step;
    }
    done_ += out.size();
    if (!archive_->bare && done_ == entry_.size && crc_ != entry_.crc)
      fail("its checksum does not match: the file is damaged");
  }
  uint64_t size() const { return entry_.size; }
  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void fail(const std::string& problem) const { throw Error(where_ + ": " + problem); }
  void copy(std::span<uint8_t> out) {
    std::memcpy(out.data(), zlib_.next_in, out.size());
    zlib_.next_in += out.size();
  }
  void unpack(std::span<uint8_t> out) {
    zlib_.next_out = out.data();
    zlib_.avail_out = static_cast<uInt>(out.size());
    while (zlib_.avail_out > 0) {
      const auto fed = static_cast<uInt>(std::min<uint64_t>(left_in_, kMostStep));
      zlib_.avail_in = fed;
      const int state = inflate(&zlib_, Z_NO_FLUSH);
      left_in_ -= fed - zlib_.avail_in;
      const bool ended = state == Z_STREAM_END;
      if ((state != Z_OK && !ended) || (ended && zlib_.avail_out > 0))
        fail("its compressed data are damaged, truncated or not deflate");
    }
  }

  std::shared_ptr<const Archive> archive_;
  std::string where_;
  ZipEntry entry_;
  z_stream zlib_{};
  uint64_t left_in_ = 0, done_ = 0;
  uLong crc_ = crc32(0, nullptr, 0);
};

namespace {

/// Reads the header and leaves the stream at the data.
NpyHeader read_header(NpzFile::Stream& stream) {
  constexpr uint64_t kVersionBytes = 12;  // magic, version, and a length of 4 bytes at most
  std::vector<uint8_t> start(std::min(stream.size(), kVersionBytes));
  stream.read(start);
  const bool wide = start.size() == kVersionBytes && start[6] > 1;
  uint64_t length = 10;
  if (start.size() == kVersionBytes)
    length = wide ? kVersionBytes + start[8] + start[9] * 0x100u + start[10] * 0x10000u + start[11] * 0x1000000ull
                  : length + start[8] + start[9] * 0x100u;
  const uint64_t whole = std::min({length, kMostNpyHeader, stream.size()});
  if (whole > start.size()) {
    start.resize(whole);
    stream.read(std::span(start).subspan(kVersionBytes));
  }
  const NpyHeader header = parse_npy_header(start, stream.where());
  const uint64_t there = stream.size() - header.bytes, claimed = header.data_bytes(stream.where());
  if (claimed != there)
    throw Error(stream.where() + ": its header claims " + std::to_string(claimed) + " bytes of data, it has " +
                std::to_string(there) + ": it is truncated or damaged");
  return header;
}

/// Bytes to read at once. Throws Error for more than `most`, before they are allocated: deflate packs a thousand zeros
/// into a byte.
std::vector<uint8_t> buffer_for(uint64_t bytes, uint64_t most, const std::string& where) {
  if (bytes > most)
    throw Error(where + ": it has " + std::to_string(bytes) + " bytes; at most " + std::to_string(most) +
                " are read at once");
  return std::vector<uint8_t>(bytes);
}

}  // namespace

NpzFile::NpzFile(const std::filesystem::path& path) : archive_(std::make_shared<Archive>(path)) {}

const std::string& NpzFile::where() const {
  return archive_->where;
}

std::vector<std::string> NpzFile::names() const {
  return archive_->names();
}

std::string NpzFile::listing() const {
  return archive_->listing();
}

bool NpzFile::has(const std::string& name) const {
  return archive_->entries.contains(name + std::string(kSuffix));
}

NpyHeader NpzFile::header(const std::string& name) const {
  Stream stream(archive_, name);
  return read_header(stream);
}

at::Tensor NpzFile::read(const std::string& name) const {
  Stream stream(archive_, name);
  const NpyHeader header = read_header(stream);
  header.dtype(stream.where());
  std::vector<uint8_t> data = buffer_for(header.data_bytes(stream.where()), limits::kArrayBytes, stream.where());
  stream.read(data);
  return npy_tensor(header, header.shape, data, stream.where());
}

std::optional<std::string> NpzFile::text(const std::string& name) const {
  if (!has(name)) return {};
  Stream stream(archive_, name);
  const NpyHeader header = read_header(stream);
  if (!header.is_text() || !header.shape.empty()) throw Error(stream.where() + ": want a single string");
  std::vector<uint8_t> data = buffer_for(header.data_bytes(stream.where()), kLongestText, stream.where());
  stream.read(data);
  if (header.descr[1] == 'S') return std::string(data.begin(), std::find(data.begin(), data.end(), 0));
  std::string ascii;
  for (size_t i = 0; i + 4 <= data.size(); i += 4) {
    const uint8_t* code = data.data() + i;
    const bool big = header.big_endian();
    if (std::all_of(code, code + 4, [](uint8_t byte) { return byte == 0; })) break;
    const uint8_t low = big ? code[3] : code[0];
    const bool simple = low < 0x80 && code[1] == 0 && code[2] == 0 && (big ? code[0] : code[3]) == 0;
    ascii += simple ? static_cast<char>(low) : '?';
  }
  return ascii;
}

NpzRows::NpzRows(const NpzFile& file, const std::string& name)
    : stream_(std::make_unique<NpzFile::Stream>(file.archive_, name)) {
  header_ = read_header(*stream_);
  where_ = stream_->where();
  header_.dtype(where_);
  if (header_.shape.empty()) throw Error(where_ + ": want rows, found a single number");
  if (!header_.fortran_order || header_.shape.size() < 2) return;
  if (header_.data_bytes(where_) > kMostTurned)
    throw Error(where_ + ": it is in Fortran order, whose rows cannot be read one by one, and with " +
                std::to_string(header_.data_bytes(where_)) +
                " bytes too large to be turned in memory; save it in C order (np.ascontiguousarray)");
  turned_ = file.read(name);
}

NpzRows::~NpzRows() = default;

at::Tensor NpzRows::next(int64_t count) {
  TORCH_CHECK(count >= 0, "NpzRows: want ", count, " rows");
  std::vector<int64_t> shape = header_.shape;
  shape[0] = std::min(count, shape[0] - read_);
  const int64_t first = std::exchange(read_, read_ + shape[0]);
  if (turned_.defined()) return turned_.narrow(0, first, shape[0]);
  NpyHeader part = header_;
  part.shape = shape;
  std::vector<uint8_t> data = buffer_for(part.data_bytes(where_), limits::kArrayBytes, where_);
  stream_->read(data);
  return npy_tensor(header_, shape, data, where_);
}

}  // namespace tessera
