#pragma once

#include <string>

#include "batch/prompt_formats.h"
#include "core/located_json.h"

namespace tessera {

/// Reads settings one by one into `out`, whatever spelling a program uses for them; what is wrong goes to `mistakes`.
class SettingReader {
 public:
  SettingReader(PromptSource& source, Mistakes& mistakes) : source_(source), mistakes_(mistakes) {}

  /// One key with a text value, as from a line of text. `in_defaults` allows what belongs to the whole file.
  void set(PromptSettings& out, const std::string& key, const std::string& value, int64_t line,
           bool in_defaults = false);
  /// A JSON object with the keys of an entry ("id" too, when `entry` is given).
  void set_all(PromptSettings& out, const LocatedJson& object, PromptEntry* entry, bool in_defaults = false);
  /// A note that a key of another program changes nothing here.
  void ignore(const std::string& key);

 private:
  const JobOption* option_of(const std::string& key, int64_t line, bool in_defaults);
  std::optional<std::string> value_of(const JobOption& option, const std::string& key, const LocatedJson& value);
  void member(PromptSettings& out, const std::string& key, const LocatedJson& value, bool in_defaults);
  void axis(PromptSettings& out, const std::string& key, const LocatedJson& values, bool in_defaults);
  void grid(PromptSettings& out, const LocatedJson& object, bool in_defaults);
  void sample_params(PromptSettings& out, const LocatedJson& object);
  bool foreign(PromptSettings& out, const std::string& key, const LocatedJson& value, bool in_defaults);
  void scheduler(PromptSettings& out, const LocatedJson& value);
  void custom_sigmas(PromptSettings& out, const LocatedJson& levels);
  bool check(const JobOption& option, const std::string& key, const std::string& value, int64_t line);

  PromptSource& source_;
  Mistakes& mistakes_;
};

}  // namespace tessera
