#pragma once

#include <compare>
#include <map>
#include <string>
#include <utility>

#include "batch/prompt_formats.h"
#include "core/located_json.h"

namespace tessera {

/// What the rows of a file are.
struct RowForm {
  std::string prompt_key = {};  ///< see find_prompt_key (batch/prompt_keys.h)
  bool is_table = false;        ///< letters' case means nothing, an empty field is no setting, and a column `image`
                                ///< beside `init_image` is data
};

/// Reads settings one by one into `out`, whatever spelling a program uses for them; what is wrong goes to `mistakes`.
class SettingReader {
 public:
  SettingReader(PromptSource& source, Mistakes& mistakes) : source_(source), mistakes_(mistakes) {}

  /// One key with a text value, as from a line of text. `in_defaults` allows what belongs to the whole file.
  void set(PromptSettings& out, const std::string& key, const std::string& value, int64_t line,
           bool in_defaults = false);
  /// A JSON object with the keys of an entry ("id" too, when `entry` is given).
  void set_all(PromptSettings& out, const LocatedJson& object, PromptEntry* entry, bool in_defaults = false);
  /// A row of a table, or an object of a list that may be another program's: what is neither an option nor resembles
  /// one goes into the entry's metadata.
  void set_row(PromptEntry& entry, const LocatedJson& row, const RowForm& form);
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
  void take_id(PromptEntry& entry, const LocatedJson& value);
  /// What a key of a row means.
  struct KeyMeaning {
    std::string own;    ///< the option or the key of ours; "" for metadata
    std::string near;   ///< of metadata: the option that it resembles so much that it is probably misspelled
    bool told = false;  ///< the user has heard of it
  };
  /// What the meaning of a key depends on besides its name.
  struct RowColumns {
    bool is_table = false, has_prompt = false, has_init_image = false;
    auto operator<=>(const RowColumns&) const = default;
  };
  KeyMeaning& meaning_of(const std::string& key, const RowColumns& columns);
  bool check(const JobOption& option, const std::string& key, const std::string& value, int64_t line);

  PromptSource& source_;
  Mistakes& mistakes_;
  std::map<std::pair<std::string, RowColumns>, KeyMeaning> meanings_;
};

}  // namespace tessera
