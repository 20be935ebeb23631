#include <ATen/ATen.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/utf8.h"
#include "weights/npz.h"

namespace tessera {
namespace {

constexpr char32_t kSurrogateOfByte = 0xDC00;    // what Python adds to a byte that is not UTF-8 ("surrogateescape")
constexpr uLong kFirstOfJanuary1980 = 0x210000;  // in DOS's form: a fixed date, so that equal input gives equal bytes

/// A zip archive of stored (not compressed) entries, written front to back.
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& path)
      : path_(path), file_(path), zip_(zipOpen64(file_.temporary().c_str(), APPEND_STATUS_CREATE)) {
    if (!zip_) throw write_error(path_, errno);
  }
  ~ZipWriter() {
    if (zip_) zipClose(zip_, nullptr);
  }
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  void add(const std::string& name, const std::string& header, std::string_view data) {
    const zip_fileinfo info = {.tmz_date = {}, .dosDate = kFirstOfJanuary1980, .internal_fa = 0, .external_fa = 0};
    const bool large = header.size() + data.size() >= std::numeric_limits<uint32_t>::max();
    check(zipOpenNewFileInZip64(zip_, name.c_str(), &info, nullptr, 0, nullptr, 0, nullptr, 0, 0, large));
    put(header);
    put(data);
    check(zipCloseFileInZip(zip_));
  }

  void commit() {
    check(zipClose(std::exchange(zip_, nullptr), nullptr));
    file_.commit();
  }

 private:
  void check(int result) const {
    if (result == ZIP_OK) return;
    if (result == ZIP_ERRNO && errno != 0) throw write_error(path_, errno);
    throw Error("cannot write " + path_.string() + ": minizip failed with " + std::to_string(result),
                ExitCode::kFailed);
  }
  void put(std::string_view bytes) {
    constexpr size_t kMostWritten = 1u << 30;  // minizip counts in 32 bits
    for (size_t at = 0; at < bytes.size(); at += kMostWritten) {
      const std::string_view step = bytes.substr(at, kMostWritten);
      check(zipWriteInFileInZip(zip_, step.data(), static_cast<unsigned>(step.size())));
    }
  }

  std::filesystem::path path_;
  AtomicFile file_;
  zipFile zip_;
};

/// NumPy's characters: code points of 32 bits.
std::u32string characters(const std::string& text) {
  std::u32string codes;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const std::optional<uint32_t> code = next_code_point(text, at);
    if (!code) at = begin + 1;
    codes += static_cast<char32_t>(code ? *code : kSurrogateOfByte + static_cast<uint8_t>(text[begin]));
  }
  return codes;
}

void add_texts(ZipWriter& zip, const std::string& name, const std::vector<std::string>& texts, at::IntArrayRef shape) {
  std::vector<std::u32string> items;
  size_t width = 0;
  for (const std::string& text : texts) width = std::max(width, items.emplace_back(characters(text)).size());
  std::u32string all;
  for (std::u32string& item : items) {
    item.resize(width);
    all += item;
  }
  zip.add(name + ".npy", make_npy_header("<U" + std::to_string(width), shape),
          {reinterpret_cast<const char*>(all.data()), all.size() * sizeof(char32_t)});
}

}  // namespace

void write_npz(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& arrays,
               const std::map<std::string, std::string>& texts,
               const std::map<std::string, std::vector<std::string>>& lists) {
  ZipWriter zip(path);
  for (const auto& [name, array] : arrays) {
    const at::Tensor data = array.detach().cpu().contiguous();
    zip.add(name + ".npy", make_npy_header(npy_descr(data.scalar_type()), data.sizes()),
            {static_cast<const char*>(data.const_data_ptr()), data.nbytes()});
  }
  for (const auto& [name, text] : texts) add_texts(zip, name, {text}, {});
  for (const auto& [name, list] : lists) add_texts(zip, name, list, {static_cast<int64_t>(list.size())});
  zip.commit();
}

}  // namespace tessera
