#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "batch/prompt_input.h"
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
  bool faulty = false;  ///< mistakes were found in it; what is left of it may still show more of them
};

/// What is wrong with a prompt file, each with its line; shown all at once.
class Mistakes {
 public:
  /// `line` 0 is of the whole file. What is known already is not added again.
  void add(int64_t line, std::string text) {
    if (!full() && known_.emplace(line, text).second) found_.emplace_back(line, std::move(text));
  }
  /// From now on line i is shown as the i-th of these names: of a folder's files, of which each is one prompt.
  void name_lines(std::vector<std::string> names) { names_ = std::move(names); }
  size_t size() const { return found_.size(); }
  /// No further mistakes are kept, so there is no point in reading on.
  bool full() const { return found_.size() >= kMostKept; }
  /// Throws one Error with every mistake in the order of the file (the first 100, and how many more).
  void throw_if_any(const std::string& file) const;

 private:
  static constexpr size_t kMostKept = 10000;
  std::vector<std::pair<int64_t, std::string>> found_;
  std::set<std::pair<int64_t, std::string>> known_;
  std::vector<std::string> names_;
};

/// A prompt file in whatever form, read but not expanded.
struct PromptSource {
  PromptSettings defaults;
  std::vector<PromptEntry> entries;
  std::vector<std::string> notes;          ///< for the user: what of the file means nothing here
  std::vector<std::string> metadata_keys;  ///< of all entries, in the order of the file
};

/// Reads a prompt file. Its extension settles what its text alone leaves open. `prompt_key` names the key or column
/// that holds the prompts, "" for the usual names. The forms are listed in docs/batch.md. Mistakes are collected.
/// `lora_tags`: see job_from_parameters (pipelines/parameters_text.h).
PromptSource read_prompt_source(const PromptInput& input, const std::string& prompt_key, Mistakes& mistakes,
                                bool lora_tags = false);

/// True for an option that an entry (or, in `defaults`, the whole file) may set.
bool allowed_in_prompt_file(const JobOption& option, bool in_defaults);

/// Keys of an entry besides the options of core/job.h: "id", "seeds", "grid".
const std::vector<std::string>& prompt_entry_keys();

}  // namespace tessera
