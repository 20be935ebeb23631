#include "pipelines/prompt_syntax.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace tessera {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

/// Calls `fits` with what stands between each `open` and the next `close`, until it is true.
bool any_between(std::string_view text, char open, char close, bool (*fits)(std::string_view inside)) {
  for (size_t at = text.find(open); at != std::string_view::npos; at = text.find(open, at + 1)) {
    const size_t end = text.find(close, at);
    if (end == std::string_view::npos) return false;
    if (fits(text.substr(at + 1, end - at - 1))) return true;
  }
  return false;
}

/// <lora:style:0.8>
bool is_network(std::string_view inside) {
  for (const std::string_view kind : {"lora:", "lyco:", "locon:", "hypernet:"})
    if (inside.starts_with(kind)) return true;
  return false;
}

/// The number behind the last colon, as in "word:1.3"; "10:30" is a time.
bool ends_with_weight(std::string_view inside) {
  const size_t colon = inside.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  std::string_view number = inside.substr(colon + 1);
  while (number.starts_with(' ')) number.remove_prefix(1);
  const bool plain =
      !number.empty() && std::all_of(number.begin(), number.end(), [](char c) { return is_digit(c) || c == '.'; });
  return plain && (number.find('.') != std::string_view::npos || !is_digit(inside[colon - 1]));
}

bool is_edit(std::string_view inside) {
  return inside.find('|') != std::string_view::npos || ends_with_weight(inside);
}

bool is_choice(std::string_view inside) {
  return inside.find('|') != std::string_view::npos;
}

/// __name__
bool has_wildcard(std::string_view text) {
  for (size_t at = text.find("__"); at != std::string_view::npos; at = text.find("__", at + 2)) {
    const size_t end = text.find("__", at + 2);
    if (end == std::string_view::npos) return false;
    const std::string_view name = text.substr(at + 2, end - at - 2);
    if (!name.empty() &&
        std::all_of(name.begin(), name.end(), [](char c) { return is_word(c) || c == '-' || c == '/'; }))
      return true;
  }
  return false;
}

bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> literal_syntax_notes(const std::string& prompt) {
  const bool shouts = std::none_of(prompt.begin(), prompt.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  std::vector<std::string> notes;
  const auto say = [&](bool found, const std::string& what) {
    if (found) notes.push_back(what);
  };
  say(any_between(prompt, '<', '>', is_network),
      "<lora:...> in a prompt is literal text; no LoRA is loaded without --lora-dir");
  say(any_between(prompt, '(', ')', ends_with_weight), "(word:1.2) in a prompt is literal text; words have no weights");
  say(any_between(prompt, '[', ']', is_edit),
      "[a|b] and [from:to:0.5] in a prompt are literal text; a prompt does not change between steps");
  say(any_between(prompt, '{', '}', is_choice) || has_wildcard(prompt),
      "{a|b} and __name__ in a prompt are literal text; write a prompt for each choice");
  say(!shouts && (has_word(prompt, "AND") || has_word(prompt, "BREAK")),
      "AND and BREAK in a prompt are literal text; a prompt has no parts");
  return notes;
}

}  // namespace tessera
