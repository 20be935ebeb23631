#include "weights/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace tessera {

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
    // NORESERVE: without it a private map counts against memory although few pages are ever written.
    data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
  }
  const int mapping_error = errno;
  ::close(file);
  if (data_ == MAP_FAILED) throw Error("cannot map " + path.string() + ": " + std::strerror(mapping_error));
}

FileMap::~FileMap() {
  if (size_ > 0) ::munmap(data_, size_);
}

bool FileMap::begins_with(std::string_view text) const {
  return size_ >= text.size() && std::memcmp(data_, text.data(), text.size()) == 0;
}

}  // namespace tessera
