#pragma once

#include <cstdint>
#include <filesystem>

namespace tessera {

/// What a gallery shows.
struct GallerySummary {
  std::filesystem::path path;       ///< the page
  int64_t outputs = 0, failed = 0;  ///< jobs of the record, and those among them without a good output
  int64_t without_picture = 0;      ///< finished outputs that cannot be decoded here
  int64_t unreadable = 0;           ///< lines of the record that cannot be read
};

/// Writes FOLDER/index.html, atomically: one page with everything in it but the outputs themselves, made from the
/// folder's manifest.jsonl and the records of single processes beside it. Thumbnails are JPEGs of 12 kB at most and 16
/// MB together; outputs beyond that are shown by their own files. Thumbnails are reused
/// from an earlier page where the output has not changed. The pictures that videos begin and end with are shown small,
/// where they still are what the recipe says. Throws Error: no record in the folder (2), a failed write
/// (1), a signal (130 or 143).
GallerySummary write_gallery(const std::filesystem::path& folder);

}  // namespace tessera
