#include "weights/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "core/error.h"

namespace tessera {
namespace {

/// Begin and end of every open map.
std::mutex open_maps_mutex;
std::map<uintptr_t, uintptr_t> open_maps;

}  // namespace

FileMap::FileMap(const std::filesystem::path& path, std::string_view wanted) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (!std::filesystem::exists(status)) throw Error(path.string() + ": no such file; want " + std::string(wanted));
  if (!std::filesystem::is_regular_file(status))
    throw Error(path.string() + " is not a regular file; want " + std::string(wanted));
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw Error("cannot open " + path.string() + ": " + std::strerror(errno));
  struct stat info {};
  if (::fstat(file, &info) == 0 && info.st_size > 0) {
    size_ = static_cast<uint64_t>(info.st_size);
    // NORESERVE: otherwise a private map counts against memory although few pages are ever written.
    data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
  }
  const int mapping_error = errno;
  ::close(file);
  if (data_ == MAP_FAILED) throw Error("cannot map " + path.string() + ": " + std::strerror(mapping_error));
  const std::lock_guard lock(open_maps_mutex);
  const auto begin = reinterpret_cast<uintptr_t>(data_);
  if (size_ > 0) open_maps[begin] = begin + size_;
}

FileMap::~FileMap() {
  if (size_ == 0) return;
  const std::lock_guard lock(open_maps_mutex);
  open_maps.erase(reinterpret_cast<uintptr_t>(data_));
  ::munmap(data_, size_);
}

void forget_pages(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cpu() || tensor.nbytes() == 0 || !tensor.is_contiguous()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto data = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const std::lock_guard lock(open_maps_mutex);
  auto map = open_maps.upper_bound(data);
  if (map == open_maps.begin() || data + tensor.nbytes() > (--map)->second) return;
  // Only whole pages: the first and the last may belong to a neighbor too.
  const uintptr_t begin = (data + page - 1) / page * page, end = (data + tensor.nbytes()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

bool FileMap::begins_with(std::string_view text) const {
  return size_ >= text.size() && std::memcmp(data_, text.data(), text.size()) == 0;
}

}  // namespace tessera
