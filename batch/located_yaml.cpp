#include "batch/located_yaml.h"

#include <yaml.h>

#include <new>

namespace tessera {
namespace {

constexpr int kDeepest = 64;
constexpr int64_t kMostValues = 4000000;

/// A plain scalar by YAML 1.2's core schema; "007" and "1.50" stay as they are written.
nlohmann::json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text.size() <= 32) {
    auto number = nlohmann::json::parse(text, nullptr, false);
    if (number.is_number() && number.dump() == text) return number;
  }
  return text;
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
    if (next() != YAML_STREAM_END_EVENT) fail("a second document begins; one a file is read");
    return root;
  }

 private:
  int64_t line() const { return static_cast<int64_t>(event_.start_mark.line) + 1; }

  [[noreturn]] void fail(const std::string& problem) const { throw JsonSyntaxError{line(), problem}; }

  yaml_event_type_t next() {
    if (has_event_) yaml_event_delete(&event_);
    has_event_ = yaml_parser_parse(&parser_, &event_) != 0;
    if (has_event_) return event_.type;
    std::string problem = parser_.problem ? parser_.problem : "unreadable";
    if (parser_.context) problem += std::string(", ") + parser_.context;
    throw JsonSyntaxError{static_cast<int64_t>(parser_.problem_mark.line) + 1, problem};
  }

  std::string text() const {
    return {reinterpret_cast<const char*>(event_.data.scalar.value), event_.data.scalar.length};
  }

  /// The value that the current event begins; ends on its last event. A member keeps the line of its key.
  void fill(LocatedJson& value, int depth, int64_t key_line = 0) {
    if (depth > kDeepest) fail("more than " + std::to_string(kDeepest) + " levels");
    if (++values_ > kMostValues) fail("more than " + std::to_string(kMostValues) + " values; split the file");
    value.line = key_line > 0 ? key_line : line();
    switch (event_.type) {
      case YAML_SCALAR_EVENT:
        if (event_.data.scalar.tag) fail("a tag (!...) is not read");
        value.scalar =
            event_.data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(text()) : nlohmann::json(text());
        return;
      case YAML_SEQUENCE_START_EVENT:
        if (event_.data.sequence_start.tag) fail("a tag (!...) is not read");
        value.kind = LocatedJson::Kind::kArray;
        while (next() != YAML_SEQUENCE_END_EVENT) fill(value.values.emplace_back(), depth + 1);
        return;
      case YAML_MAPPING_START_EVENT:
        if (event_.data.mapping_start.tag) fail("a tag (!...) is not read");
        return members(value, depth);
      default:
        fail("an alias (*name) is not read; write the value out");
    }
  }

  void members(LocatedJson& value, int depth) {
    value.kind = LocatedJson::Kind::kObject;
    while (next() != YAML_MAPPING_END_EVENT) {
      if (event_.type != YAML_SCALAR_EVENT) fail("a key that is no plain text");
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
