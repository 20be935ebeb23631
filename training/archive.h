#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "weights/file_map.h"
#include "weights/zip_directory.h"

namespace tessera {

/// The files in a tar (ustar, GNU's long names, pax paths and sizes) or zip archive (stored or deflated), mapped.
/// Nothing is unpacked but on request.
class Archive {
 public:
  /// Reads the directory. Throws Error naming the file when it is neither, cut short or damaged.
  explicit Archive(const std::filesystem::path& path);

  /// Names of its regular files, sorted.
  std::vector<std::string> names() const;
  /// The bytes of one. Throws Error when there is none of that name, when its data are damaged (a zip's CRC-32), or
  /// when it claims more than 4 GiB.
  std::string bytes(const std::string& name) const;

 private:
  void read_zip();
  void read_tar();

  std::string where_;
  std::shared_ptr<const FileMap> map_;
  std::map<std::string, ZipEntry> entries_;
  bool zip_ = false;
};

}  // namespace tessera
