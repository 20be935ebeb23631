#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// The bytes of a prompt file, of a folder of them, or of standard input.
struct PromptInput {
  struct File {
    std::string name;
    std::string text;  ///< without a byte order mark; every line ends in a line feed, whatever it ended in
  };

  std::string name;                   ///< for messages: the path, or "standard input"
  std::string extension;              ///< in lower case with its dot; "" for standard input
  bool is_folder = false;             ///< then each file is one prompt
  std::vector<File> files;            ///< the one file; of a folder its .txt files in the order of their names
  std::vector<std::string> left_out;  ///< what else a folder holds
};

/// Reads a prompt file, a folder of .txt files, or with "-" standard input. Throws Error when there is none, when it is
/// larger than `largest` bytes in all, and for UTF-16.
PromptInput read_prompt_input(const std::filesystem::path& path, int64_t largest);

}  // namespace tessera
