#include "core/json_syntax.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>

#include "core/printable.h"
#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

constexpr size_t kMostQuoted = 40;  // bytes of the file in a message

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '+' || c == '-';
}

/// Walks through a text by JSON's grammar (RFC 8259) up to the first mistake.
class Walk {
 public:
  explicit Walk(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  std::optional<SyntaxError> mistake() {
    try {
      skip_blanks();
      if (ended()) fail("there is nothing here; want a value");
      value(1);
      skip_blanks();
      if (!ended())
        fail("more text follows the end of the value; remove it, or for one value a line name the file .jsonl");
    } catch (const Found& found) {
      return located(found);
    }
    return {};
  }

 private:
  struct Found {
    size_t at;
    std::string problem;
  };

  [[noreturn]] void fail(const std::string& problem) const { fail(at_, problem); }
  [[noreturn]] static void fail(size_t at, const std::string& problem) { throw Found{at, problem}; }

  SyntaxError located(const Found& found) const {
    const std::string_view before = text_.substr(0, found.at);
    const size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    const auto is_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    return {1 + std::count(before.begin(), before.end(), '\n'),
            1 + std::count_if(before.begin() + static_cast<std::ptrdiff_t>(start), before.end(), is_character),
            found.problem};
  }

  bool ended() const { return at_ >= text_.size(); }
  char here() const { return ended() ? '\0' : text_[at_]; }
  bool here_is(std::string_view part) const { return text_.substr(at_).starts_with(part); }
  int64_t line_of(size_t at) const {
    return 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  }
  static std::string quoted(std::string_view part) {
    return printable_line(shortened(std::string(part.substr(0, 2 * kMostQuoted)), kMostQuoted));
  }

  void skip_blanks() {
    while (here() == ' ' || here() == '\t' || here() == '\n' || here() == '\r') ++at_;
    if (here() == '#' || here_is("//") || here_is("/*")) fail("comments are not JSON; remove this one");
    if (here_is("\xC2\xA0") || here_is("\xE3\x80\x80") || here_is("\xEF\xBB\xBF"))
      fail("an invisible character that is no plain space; replace it by a space");
  }

  void value(int64_t depth) {
    if (depth > kMaxNesting) fail("more than " + std::to_string(kMaxNesting) + " nested levels");
    const char c = here();
    if (c == '{') return object(depth);
    if (c == '[') return array(depth);
    if (c == '"') return string();
    if (is_digit(c) || c == '-') return number();
    if (c == '\'' || here_is("\xE2\x80\x98") || here_is("\xE2\x80\x99") || here_is("\xE2\x80\x9C") ||
        here_is("\xE2\x80\x9D"))
      fail("text stands in straight double quotes, \"like this\"");
    if (c == '+') fail("a number has no + in front; remove it");
    if (c == '.') fail("a number begins with a digit; write 0 before the point");
    if (c == ',') fail("a value is missing before this comma");
    if (c == ']' || c == '}' || c == ':' || c == '=') fail(std::string("a value is missing before this ") + c);
    word();
  }

  std::string_view word_here() const {
    size_t end = at_;
    while (end < text_.size() && (is_word(text_[end]) || static_cast<unsigned char>(text_[end]) >= 0x80)) ++end;
    return text_.substr(at_, end - at_);
  }

  void word() {
    static const std::map<std::string_view, std::string> others = {
        {"True", "true"}, {"TRUE", "true"}, {"False", "false"}, {"FALSE", "false"},
        {"None", "null"}, {"NULL", "null"}, {"Null", "null"},   {"undefined", "null"}};
    const std::string_view found = word_here();
    if (found.empty()) {
      size_t next = at_;
      next_code_point(text_, next);
      fail(quoted(text_.substr(at_, next - at_)) + " cannot stand here; want a value");
    }
    if (found == "true" || found == "false" || found == "null") {
      at_ += found.size();
      return;
    }
    if (const auto other = others.find(found); other != others.end())
      fail("write " + other->second + " instead of " + std::string(found));
    if (found == "NaN" || found == "nan" || found == "Infinity" || found == "inf") not_a_number(found);
    fail(quoted(found) + " has no quotes; text stands in double quotes");
  }

  [[noreturn]] void not_a_number(std::string_view found) const {
    fail(std::string(found) + " is not a number in JSON; write a number, or leave the key out");
  }

  size_t skip_digits() {
    const size_t start = at_;
    while (is_digit(here())) ++at_;
    return at_ - start;
  }

  void number() {
    const size_t start = at_;
    const std::string_view whole = word_here();
    if (whole == "-Infinity" || whole == "-inf" || whole == "-NaN" || whole == "-nan") not_a_number(whole);
    if (here() == '-') ++at_;
    const bool zero = here() == '0';
    const size_t digits = skip_digits();
    if (digits == 0) fail(start, quoted(whole) + " is no number; a digit follows the minus");
    if (zero && (here() == 'x' || here() == 'X')) fail(start, quoted(whole) + ": numbers are decimal; write it so");
    if (zero && digits > 1)
      fail(start, quoted(whole) + ": a number does not begin with 0; remove it, or use quotes for text");
    if (here() == '.') {
      ++at_;
      if (skip_digits() == 0) fail(start, quoted(whole) + ": a digit follows the point");
    }
    if (here() == 'e' || here() == 'E') {
      ++at_;
      if (here() == '+' || here() == '-') ++at_;
      if (skip_digits() == 0) fail(start, quoted(whole) + ": a whole number follows the e");
    }
    if (at_ < start + whole.size()) fail(start, quoted(whole) + " is no number; text stands in double quotes");
    if (std::isinf(std::strtod(std::string(whole).c_str(), nullptr)))
      fail(start, quoted(whole) + " is too large; numbers go up to about 1.8e308");
  }

  void string() {
    const size_t start = at_++;
    for (; here() != '"'; ++at_) {
      if (ended()) fail(start, "this text is not closed; add the missing \"");
      const auto c = static_cast<unsigned char>(here());
      if (c == '\n' || c == '\r') fail(start, "this text is not closed on its line; add the missing \", or write \\n");
      if (c == '\t') fail("a tab inside a text; write \\t");
      if (c < 0x20) fail("the control character " + printable_line(text_.substr(at_, 1)) + " inside a text; remove it");
      if (c == '\\') escape();
      if (c < 0x80) continue;
      size_t next = at_;
      if (!next_code_point(text_, next)) fail("a byte that is not UTF-8; save the file as UTF-8");
      at_ = next - 1;
    }
    ++at_;
  }

  /// The four hexadecimal digits of a \u, from `at` on.
  std::optional<uint32_t> code_unit(size_t at) const {
    uint32_t code = 0;
    for (size_t i = at; i < at + 4; ++i) {
      if (i >= text_.size() || !std::isxdigit(static_cast<unsigned char>(text_[i]))) return {};
      code = code * 16 + static_cast<uint32_t>(std::stoi(std::string(1, text_[i]), nullptr, 16));
    }
    return code;
  }

  /// Ends on the last character of the escape.
  void escape() {
    const size_t start = at_++;
    if (here() != 'u') {
      if (ended() || std::string_view("\"\\/bfnrt").find(here()) == std::string_view::npos)
        fail(start, quoted(text_.substr(start, 2)) + " is no escape; write \\\\ for a backslash");
      return;
    }
    const auto code = code_unit(at_ + 1);
    if (!code) fail(start, "four hexadecimal digits follow \\u");
    at_ += 4;
    if (*code < 0xD800 || *code > 0xDFFF) return;
    const auto low = text_.substr(at_ + 1).starts_with("\\u") ? code_unit(at_ + 3) : std::nullopt;
    if (*code > 0xDBFF || !low || *low < 0xDC00 || *low > 0xDFFF)
      fail(start, quoted(text_.substr(start, 6)) + " is half of a character; write the character itself");
    at_ += 6;
  }

  /// After a value of a list or an object: true past a comma, false past `close`.
  bool goes_on(char close, size_t opened) {
    const char open = text_[opened], other = close == ']' ? '}' : ']';
    skip_blanks();
    if (here() == close) {
      ++at_;
      return false;
    }
    if (ended())
      fail(std::string("the ") + open + " of line " + std::to_string(line_of(opened)) + " is not closed; add " + close);
    if (here() == other)
      fail(std::string("a ") + other + " closes the " + open + " of line " + std::to_string(line_of(opened)) +
           "; want " + close);
    if (here() != ',') fail("a comma is missing before this");
    const size_t comma = at_++;
    skip_blanks();
    if (here() == close || ended()) fail(comma, "remove the trailing comma");
    if (here() == ',') fail("two commas; remove one");
    return true;
  }

  void array(int64_t depth) {
    const size_t opened = at_++;
    skip_blanks();
    if (here() == ']') {
      ++at_;
      return;
    }
    if (ended()) goes_on(']', opened);
    do value(depth + 1);
    while (goes_on(']', opened));
  }

  void object(int64_t depth) {
    const size_t opened = at_++;
    skip_blanks();
    if (here() == '}') {
      ++at_;
      return;
    }
    if (ended()) goes_on('}', opened);
    do {
      if (here() != '"') fail("a key stands in double quotes: {\"key\": value}");
      const size_t key = at_;
      string();
      const std::string_view name = text_.substr(key, at_ - key);
      skip_blanks();
      if (here() != ':') fail("the key " + quoted(name) + " wants : and a value after it");
      ++at_;
      skip_blanks();
      if (ended()) goes_on('}', opened);
      value(depth + 1);
    } while (goes_on('}', opened));
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<SyntaxError> find_json_mistake(std::string_view text) {
  return Walk(text).mistake();
}

}  // namespace tessera
