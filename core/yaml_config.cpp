#include "core/yaml_config.h"

#include <yaml.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>

#include "core/error.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr int kDeepest = 100;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

template <class Number>
bool is_all(const std::string& text, Number& number) {
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [end, failure] = std::from_chars(begin, text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size();
}

/// A plain scalar by YAML 1.2's core schema, without octal and hexadecimal numbers.
json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  int64_t whole = 0;
  if (is_all(text, whole)) return whole;
  double number = 0;
  if (text.find_first_of("0123456789") != std::string::npos && is_all(text, number) && std::isfinite(number))
    return number;
  return text;
}

/// One document, event by event, into JSON.
class YamlReader {
 public:
  explicit YamlReader(const std::filesystem::path& path) : path_(path.string()), file_(std::fopen(path.c_str(), "rb")) {
    if (!file_) throw Error("cannot read " + path_ + ": no such file or no permission");
    if (!yaml_parser_initialize(&parser_)) throw std::bad_alloc();
    yaml_parser_set_input_file(&parser_, file_.get());
  }
  ~YamlReader() {
    if (has_event_) yaml_event_delete(&event_);
    yaml_parser_delete(&parser_);
  }
  YamlReader(const YamlReader&) = delete;
  YamlReader& operator=(const YamlReader&) = delete;

  json document() {
    next();  // the stream's start
    if (next() == YAML_STREAM_END_EVENT) fail("is empty; want a YAML map");
    next();
    json value = node(0);
    next();  // the document's end
    if (next() != YAML_STREAM_END_EVENT) fail("holds more than one document");
    return value;
  }

 private:
  yaml_event_type_t next() {
    if (has_event_) yaml_event_delete(&event_);
    has_event_ = yaml_parser_parse(&parser_, &event_) != 0;
    if (!has_event_)
      throw Error(path_ + " is not valid YAML: line " + std::to_string(parser_.problem_mark.line + 1) + ", " +
                  (parser_.problem ? parser_.problem : "unreadable"));
    return event_.type;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(path_ + ": line " + std::to_string(event_.start_mark.line + 1) + " " + problem);
  }

  std::string text() const {
    return {reinterpret_cast<const char*>(event_.data.scalar.value), event_.data.scalar.length};
  }

  /// The value that the current event begins; ends on the value's last event.
  json node(int depth) {
    if (depth > kDeepest) fail("is nested too deeply");
    switch (event_.type) {
      case YAML_SCALAR_EVENT:
        return event_.data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(text()) : json(text());
      case YAML_SEQUENCE_START_EVENT:
        return list(depth);
      case YAML_MAPPING_START_EVENT:
        return map(depth);
      default:
        fail("has an alias, which is not read");
    }
  }

  json list(int depth) {
    json items = json::array();
    while (next() != YAML_SEQUENCE_END_EVENT) items.push_back(node(depth + 1));
    return items;
  }

  json map(int depth) {
    json entries = json::object();
    while (next() != YAML_MAPPING_END_EVENT) {
      if (event_.type != YAML_SCALAR_EVENT) fail("has a key that is not a text");
      const std::string key = text();
      if (entries.contains(key)) fail("names " + key + " twice");
      next();
      entries[key] = node(depth + 1);
    }
    return entries;
  }

  std::string path_;
  std::unique_ptr<std::FILE, CloseFile> file_;
  yaml_parser_t parser_{};
  yaml_event_t event_{};
  bool has_event_ = false;
};

}  // namespace

json read_yaml_object(const std::filesystem::path& path) {
  json value = YamlReader(path).document();
  if (!value.is_object()) throw Error(path.string() + " holds " + value.type_name() + ", want a YAML map");
  return value;
}

}  // namespace tessera
