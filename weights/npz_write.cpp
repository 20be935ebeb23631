#include <ATen/ATen.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "core/atomic_file.h"
#include "core/error.h"
#include "weights/npz.h"

namespace tessera {
namespace {

constexpr uint16_t kVersion = 20, kDate = 0x21;  // zip 2.0; 1980-01-01, so that equal input gives equal bytes
constexpr uint32_t kLocal = 0x04034b50, kEntry = 0x02014b50, kEnd = 0x06054b50;
constexpr size_t kMostStep = 1u << 30;  // zlib counts in 32 bits

/// A stored (not compressed) zip archive, written front to back.
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& path) : path_(path), file_(path) {}

  void add(const std::string& name, const std::string& header, std::string_view data) {
    const uint64_t size = header.size() + data.size();
    if (size + place_ > std::numeric_limits<uint32_t>::max() / 2)
      throw Error(path_.string() + ": its arrays have more than 2 GiB together, which this writer does not do");
    const std::string numbers = number(kVersion, 2) + number(0, 2) + number(0, 2) + number(0, 2) + number(kDate, 2) +
                                number(checksum(data, checksum(header, 0)), 4) + number(size, 4) + number(size, 4) +
                                number(name.size(), 2) + number(0, 2);
    directory_ += number(kEntry, 4) + number(kVersion, 2) + numbers + number(0, 2) + number(0, 2) + number(0, 2) +
                  number(0, 4) + number(place_, 4) + name;
    ++entries_;
    put(number(kLocal, 4) + numbers + name);
    put(header);
    put(data);
  }

  void commit() {
    const uint64_t begin = place_;
    put(directory_);
    put(number(kEnd, 4) + number(0, 2) + number(0, 2) + number(entries_, 2) + number(entries_, 2) +
        number(directory_.size(), 4) + number(begin, 4) + number(0, 2));
    file_.commit();
  }

 private:
  static std::string number(uint64_t value, size_t bytes) {
    std::string text;
    for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
    return text;
  }
  static uLong checksum(std::string_view bytes, uLong crc) {
    for (size_t at = 0; at < bytes.size(); at += kMostStep)
      crc = crc32(crc, reinterpret_cast<const Bytef*>(bytes.data() + at),
                  static_cast<uInt>(std::min(bytes.size() - at, kMostStep)));
    return crc;
  }
  void put(std::string_view bytes) {
    file_.write(bytes);
    place_ += bytes.size();
  }

  std::filesystem::path path_;
  AtomicFile file_;
  std::string directory_;
  uint64_t place_ = 0, entries_ = 0;
};

}  // namespace

void write_npz(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& arrays,
               const std::map<std::string, std::string>& texts) {
  ZipWriter zip(path);
  for (const auto& [name, array] : arrays) {
    const at::Tensor data = array.detach().cpu().contiguous();
    zip.add(name + ".npy", make_npy_header(npy_descr(data.scalar_type()), data.sizes()),
            {static_cast<const char*>(data.const_data_ptr()), data.nbytes()});
  }
  for (const auto& [name, text] : texts) {
    std::string wide;
    for (const char letter : text) wide += {letter, '\0', '\0', '\0'};
    zip.add(name + ".npy", make_npy_header("<U" + std::to_string(text.size()), {}), wide);
  }
  zip.commit();
}

}  // namespace tessera
