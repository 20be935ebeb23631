#include "batch/entry_list.h"

#include <algorithm>

#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

constexpr size_t kMostEntries = 1000000;

/// A class is what class-conditional models have for a prompt.
bool has_prompt(const PromptSettings& settings) {
  const auto is_prompt = [](const auto& setting) {
    return setting.option->name == "prompt" || setting.option->name == "class";
  };
  return std::any_of(settings.settings.begin(), settings.settings.end(), is_prompt) ||
         std::any_of(settings.axes.begin(), settings.axes.end(), is_prompt);
}

}  // namespace

void EntryList::add(PromptEntry entry, size_t before) {
  entry.faulty = mistakes_.size() != before;
  full_ = source_.entries.size() >= kMostEntries;
  if (full_) return mistakes_.add(entry.line, "more than " + std::to_string(kMostEntries) + " prompts; split the file");
  if (has_prompt(entry.own) || has_prompt(source_.defaults))
    source_.entries.push_back(std::move(entry));
  else if (!entry.faulty)
    mistakes_.add(entry.line, prompt_key_.empty() ? "no \"prompt\" (or \"class\") here"
                                                  : "no \"" + shortened(prompt_key_, 60) + "\" (--prompt-key) here");
}

PromptSource EntryList::take() {
  const auto quoted = [](const std::string& key) { return "\"" + shortened(key, 60) + "\""; };
  if (!source_.metadata_keys.empty())
    source_.notes.push_back("kept in the manifest as metadata: " +
                            shortened(joined(source_.metadata_keys, ", ", quoted), 400));
  return std::move(source_);
}

}  // namespace tessera
