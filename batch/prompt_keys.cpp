#include "batch/prompt_keys.h"

#include <algorithm>

#include "batch/reproduce_command.h"
#include "core/error.h"
#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

const std::vector<std::string> kPromptNames = {"prompt", "prompt_en", "prompts"};

std::optional<size_t> position(const std::vector<std::string>& keys, const auto& fits) {
  const auto found = std::find_if(keys.begin(), keys.end(), fits);
  if (found == keys.end()) return {};
  return static_cast<size_t>(found - keys.begin());
}

/// The key that most likely holds prompts; none when no value is text.
std::optional<size_t> nearest_key(const std::vector<std::string>& keys, const std::vector<std::string>& row) {
  const auto misspelled = [](const std::string& key) { return !nearest_match(in_lower_case(key), {"prompt"}).empty(); };
  if (const auto found = position(keys, misspelled)) return found;
  for (const std::string part : {"prompt", "caption", "description", "sentence", "text"}) {
    const auto holds_part = [&](const std::string& key) {
      const std::string name = in_lower_case(key);
      return name.find(part) != std::string::npos && name.find("negative") == std::string::npos &&
             !name.ends_with("id");
    };
    if (const auto found = position(keys, holds_part)) return found;
  }
  const auto longest =
      std::max_element(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  if (longest == row.end() || longest->empty()) return {};
  return static_cast<size_t>(longest - row.begin());
}

}  // namespace

std::optional<size_t> find_prompt_key(const std::vector<std::string>& keys, const std::string& wanted) {
  if (!wanted.empty()) return position(keys, [&](const std::string& key) { return key == wanted; });
  for (const std::string& name : kPromptNames)
    if (const auto found = position(keys, [&](const std::string& key) { return in_lower_case(key) == name; }))
      return found;
  return {};
}

bool is_prompt_name(const std::string& key) {
  return std::find(kPromptNames.begin(), kPromptNames.end(), in_lower_case(key)) != kPromptNames.end();
}

std::string no_prompt_key(const std::vector<std::string>& keys, const std::vector<std::string>& row,
                          const std::string& wanted, const std::string& kind) {
  const auto quoted = [](const std::string& key) { return "\"" + shortened(key, 60) + "\""; };
  const std::string none = "no " + kind + " is called ";
  if (!wanted.empty())
    return none + quoted(wanted) + " (--prompt-key); want one of " + shortened(joined(keys, ", ", quoted), 300);
  const auto nearest = nearest_key(keys, row);
  if (!nearest) return none + "\"prompt\"; name the " + kind + " that holds the prompts with --prompt-key";
  return none + "\"prompt\"; the nearest is " + quoted(keys[*nearest]) + ": pass --prompt-key " +
         shell_quoted(shortened(keys[*nearest], 60));
}

}  // namespace tessera
