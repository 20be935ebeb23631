#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tessera {

/// Which of a row's keys or columns holds the prompt: the one called `wanted` (--prompt-key), or without a wish
/// "prompt", else "prompt_en", else "prompts", in any case of letters.
std::optional<size_t> find_prompt_key(const std::vector<std::string>& keys, const std::string& wanted);

/// Whether find_prompt_key without a wish takes a key of that name.
bool is_prompt_name(const std::string& key);

/// What to say where find_prompt_key finds nothing: the nearest key by its name or, where none resembles, the one with
/// the longest text in `row`, and how to ask for it. `kind` is "key" or "column".
std::string no_prompt_key(const std::vector<std::string>& keys, const std::vector<std::string>& row,
                          const std::string& wanted, const std::string& kind);

}  // namespace tessera
