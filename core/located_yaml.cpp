#include "core/located_yaml.h"

#include <yaml.h>

#include <charconv>
#include <cmath>
#include <new>

namespace tessera {
namespace {

template <class Number>
bool is_number(const std::string& text, Number& number) {
  const char* begin = text.data() + (text.starts_with('+') && !text.starts_with("+-") ? 1 : 0);
  const auto [end, failure] = std::from_chars(begin, text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size();
}

/// The value of a plain scalar; see parse_located_yaml.
nlohmann::json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  int64_t whole = 0;
  if (is_number(text, whole)) return whole;
  double number = 0;
  if (is_number(text, number) && std::isfinite(number)) return number;
  return text;
}

/// What is wrong and what to do, for what libyaml says; its own words for what is rare.
std::string in_our_words(const std::string& problem, const std::string& context) {
  static const std::pair<const char*, const char*> kWords[] = {
      {"did not find expected key", "want a key and a colon here; indent what belongs together by the same spaces"},
      {"did not find expected '-' indicator", "want \"- \" here; indent what belongs together by the same spaces"},
      {"did not find expected ',' or ']'", "want , or ] here"},
      {"did not find expected ',' or '}'", "want , or } here"},
      {"did not find expected node content", "want a value here"},
      {"found character that cannot start any token",
       "no value begins with a tab, %, @ or `; indent by spaces, and put such a text in quotes"},
      {"mapping values are not allowed in this context",
       "a colon and a space make a key, and none can be here; put a text with \": \" in quotes"},
      {"could not find expected ':'", "want a colon after the key"},
      {"found unexpected end of stream", "the text in quotes that begins before never ends"},
      {"found unknown escape character", "no such escape; write \\\\ for a backslash, or use single quotes"},
  };
  for (const auto& [theirs, ours] : kWords)
    if (problem == theirs) return ours;
  return context.empty() ? problem : problem + ", " + context;
}

class Reader {
 public:
  explicit Reader(std::string_view text) {
    if (!yaml_parser_initialize(&parser_)) throw std::bad_alloc();
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }
  ~Reader() {
    if (has_event_) yaml_event_delete(&event_);
    yaml_parser_delete(&parser_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  LocatedJson document() {
    next();  // the stream's start
    if (next() == YAML_STREAM_END_EVENT) fail("the file is empty");
    next();
    LocatedJson root;
    fill(root, 0);
    next();  // the document's end
    if (next() != YAML_STREAM_END_EVENT) fail("a second document begins; a file may hold only one");
    return root;
  }

 private:
  int64_t line() const { return static_cast<int64_t>(event_.start_mark.line) + 1; }
  int64_t column() const { return static_cast<int64_t>(event_.start_mark.column) + 1; }

  [[noreturn]] void fail(const std::string& problem) const { throw SyntaxError{line(), column(), problem}; }

  yaml_event_type_t next() {
    if (has_event_) yaml_event_delete(&event_);
    has_event_ = yaml_parser_parse(&parser_, &event_) != 0;
    if (has_event_) return event_.type;
    const yaml_mark_t& mark = parser_.problem_mark;
    throw SyntaxError{
        static_cast<int64_t>(mark.line) + 1, static_cast<int64_t>(mark.column) + 1,
        in_our_words(parser_.problem ? parser_.problem : "unreadable", parser_.context ? parser_.context : "")};
  }

  std::string text() const {
    return {reinterpret_cast<const char*>(event_.data.scalar.value), event_.data.scalar.length};
  }

  void refuse_tag(const yaml_char_t* tag) const {
    if (tag) fail("a tag (!...) is not supported");
  }

  /// The value that the current event begins; ends on its last event. A member keeps the line of its key.
  void fill(LocatedJson& value, int64_t depth, int64_t key_line = 0) {
    if (depth > kMaxNesting) fail("more than " + std::to_string(kMaxNesting) + " nested levels");
    if (++values_ > kMaxValues) fail("more than " + std::to_string(kMaxValues) + " values; split the file");
    value.line = key_line > 0 ? key_line : line();
    switch (event_.type) {
      case YAML_SCALAR_EVENT:
        return scalar(value);
      case YAML_SEQUENCE_START_EVENT:
        refuse_tag(event_.data.sequence_start.tag);
        value.kind = LocatedJson::Kind::kArray;
        while (next() != YAML_SEQUENCE_END_EVENT) fill(value.values.emplace_back(), depth + 1);
        return;
      case YAML_MAPPING_START_EVENT:
        refuse_tag(event_.data.mapping_start.tag);
        return members(value, depth);
      default:
        fail("an alias (*name) is not supported; write the value out");
    }
  }

  void scalar(LocatedJson& value) {
    refuse_tag(event_.data.scalar.tag);
    std::string written = text();
    const bool plain = event_.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    value.scalar = plain ? plain_scalar(written) : nlohmann::json(written);
    if (value.scalar.is_number() && value.scalar.dump() != written) value.spelling = std::move(written);
  }

  void members(LocatedJson& value, int64_t depth) {
    value.kind = LocatedJson::Kind::kObject;
    while (next() != YAML_MAPPING_END_EVENT) {
      if (event_.type != YAML_SCALAR_EVENT) fail("a key must be a scalar, not a list or a map");
      const int64_t key_line = line();
      value.keys.push_back(text());
      next();
      fill(value.values.emplace_back(), depth + 1, key_line);
    }
  }

  yaml_parser_t parser_{};
  yaml_event_t event_{};
  bool has_event_ = false;
  int64_t values_ = 0;
};

}  // namespace

LocatedJson parse_located_yaml(std::string_view text) {
  return Reader(text).document();
}

}  // namespace tessera
