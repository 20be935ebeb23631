#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "media/file_types.h"

namespace tessera {

/// The files that a command takes from a folder.
struct MediaFiles {
  /// `folder`/NAME in the order of their bytes. Links to nothing and folders that cannot be listed are there too: they
  /// fail when they are read, so that nothing is left out in silence.
  std::vector<std::filesystem::path> files;
  std::string note;  ///< what else lies there and is ignored, for the user; "" when there is nothing
};

/// The visible files in and below a folder (core/visible_files.h) whose extensions are read as one of `wanted`.
/// FIFOs, sockets and devices are never opened. The note counts what is ignored by its extension: "real/: 6 .jp2 and 2
/// .txt ignored".
MediaFiles find_media(const std::filesystem::path& folder, std::initializer_list<Medium> wanted);

}  // namespace tessera
