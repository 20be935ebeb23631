#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// What lies in and below a folder. Hidden files and hidden folders are left out everywhere: `.git`, and the `.cache`
/// of a download from Hugging Face, which holds times. Paths are `folder`/NAME, as they stand there, in the order of
/// their bytes.
struct FolderScan {
  struct Odd {
    std::filesystem::path path;
    std::string what;  ///< of `others`: "FIFO", "socket", ...; of `unlisted`: why it cannot be listed
  };
  std::vector<std::filesystem::path> files;  ///< regular files, and links to such
  std::vector<std::filesystem::path> lost;   ///< links to nothing, and what may not be looked at
  std::vector<Odd> others;                   ///< neither file nor folder: opening one could wait forever
  std::vector<Odd> unlisted;                 ///< folders that cannot be listed
};

/// Lists a folder and all below it. Links to folders are followed, and a folder is listed once, however many ways lead
/// to it: by its own name if it lies below `folder`, else by the first link in order. Never throws for what it finds.
FolderScan scan_folder(const std::filesystem::path& folder);

/// The regular files of scan_folder, relative to `folder` and sorted; a linked file goes by the name of what it links
/// to. Throws Error when a folder cannot be listed.
std::vector<std::filesystem::path> visible_files(const std::filesystem::path& folder);

}  // namespace tessera
