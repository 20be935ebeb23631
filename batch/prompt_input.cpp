#include "batch/prompt_input.h"

#include <algorithm>
#include <fstream>
#include <iostream>

#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// Reads all of a stream; `left` bytes may still be read in all.
std::string read_bytes(std::istream& in, const std::string& name, int64_t largest, int64_t& left) {
  std::string text;
  std::vector<char> piece(1 << 16);
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    text.append(piece.data(), static_cast<size_t>(in.gcount()));
    left -= in.gcount();
    if (left < 0)
      throw Error(name + " is larger than " + std::to_string(largest >> 20) +
                  " MiB, the most that a prompt file may have; split it");
  }
  return text;
}

/// Takes the byte order mark off and makes line feeds of the line ends of Windows and of old Macs.
std::string as_lines(std::string text, const std::string& name) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
    throw Error(name + " is UTF-16; save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")");
  std::string lines;
  lines.reserve(text.size());
  for (size_t i = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      lines += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      lines += '\n';
  }
  return lines;
}

std::string lower_extension_of(const fs::path& path) {
  return in_lower_case(path.extension().string());
}

std::string read_file(const fs::path& path, int64_t largest, int64_t& left) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error("cannot read " + path.string() + ": no such file or no permission");
  return as_lines(read_bytes(in, path.string(), largest, left), path.string());
}

PromptInput read_folder(const fs::path& folder, int64_t largest) {
  PromptInput input{.name = folder.string(), .extension = "", .is_folder = true, .files = {}, .left_out = {}};
  std::vector<fs::path> texts;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name[0] == '.') continue;
    if (entry.is_regular_file() && lower_extension_of(entry.path()) == ".txt")
      texts.push_back(entry.path());
    else
      input.left_out.push_back(name);
  }
  if (texts.empty())
    throw Error(folder.string() + " is a folder without .txt files; want a prompt file, or a folder with a .txt file " +
                "for each prompt");
  std::sort(texts.begin(), texts.end());
  std::sort(input.left_out.begin(), input.left_out.end());
  int64_t left = largest;
  for (const fs::path& path : texts) input.files.push_back({path.filename().string(), read_file(path, largest, left)});
  return input;
}

}  // namespace

PromptInput read_prompt_input(const fs::path& path, int64_t largest) {
  int64_t left = largest;
  if (path == "-") {
    const std::string name = "standard input";
    return {.name = name,
            .extension = "",
            .is_folder = false,
            .files = {{name, as_lines(read_bytes(std::cin, name, largest, left), name)}},
            .left_out = {}};
  }
  std::error_code failed;
  if (fs::is_directory(path, failed)) return read_folder(path, largest);
  return {.name = path.string(),
          .extension = lower_extension_of(path),
          .is_folder = false,
          .files = {{path.filename().string(), read_file(path, largest, left)}},
          .left_out = {}};
}

}  // namespace tessera
