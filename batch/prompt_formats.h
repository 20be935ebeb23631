#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/job.h"

namespace tessera {

/// An option with its value as written, both checked against the table in core/job.h.
struct PromptSetting {
  const JobOption* option;
  std::string value;
  int64_t line;
};

/// An option that takes several values in turn: a list of seeds, an entry of "grid".
struct PromptAxis {
  const JobOption* option;
  std::vector<std::string> values;
  int64_t line;
};

/// The settings of one entry of a prompt file, or of its defaults.
struct PromptSettings {
  std::vector<PromptSetting> settings;
  std::vector<PromptAxis> axes;
};

/// One prompt of the file before count, lists and grid are expanded.
struct PromptEntry {
  int64_t line = 1;
  std::optional<std::string> id;
  PromptSettings own;
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();  ///< keys of its row that are no options
};

/// What is wrong with a prompt file, each with its line; shown all at once.
class Mistakes {
 public:
  void add(int64_t line, std::string text) {
    if (!full()) found_.emplace_back(line, std::move(text));
  }
  size_t size() const { return found_.size(); }
  /// No further mistakes are kept, so there is no point in reading on.
  bool full() const { return found_.size() >= kMostKept; }
  /// Throws one Error with every mistake in the order of the file (the first 100, and how many more).
  void throw_if_any(const std::filesystem::path& path) const;

 private:
  static constexpr size_t kMostKept = 10000;
  std::vector<std::pair<int64_t, std::string>> found_;
};

/// A prompt file in whatever form, read but not expanded.
struct PromptSource {
  PromptSettings defaults;
  std::vector<PromptEntry> entries;
  std::vector<std::string> notes;  ///< for the user: keys that other programs write and that mean nothing here
};

/// Reads the text of a prompt file. `extension` (".jsonl", ".txt", ...) settles what the text alone leaves open.
/// The forms are listed in docs/batch.md. Mistakes are collected; the entries without any are returned.
PromptSource read_prompt_source(std::string_view text, const std::string& extension, Mistakes& mistakes);

/// True for an option that an entry (or, in `defaults`, the whole file) may set.
bool allowed_in_prompt_file(const JobOption& option, bool in_defaults);

/// Keys of an entry besides the options of core/job.h: "id", "seeds", "grid".
const std::vector<std::string>& prompt_entry_keys();

}  // namespace tessera
