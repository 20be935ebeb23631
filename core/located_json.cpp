#include "core/located_json.h"

#include <algorithm>
#include <iterator>

#include "core/utf8.h"

namespace tessera {
namespace {

/// Lets the parser's events know how far the text has been read.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  size_t* consumed;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    ++at;
    ++*consumed;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
  bool operator!=(const CountingIterator& other) const { return at != other.at; }
};

/// Receives the parser's events and builds the tree.
class Builder {
 public:
  Builder(std::string_view text, int64_t first_line, const size_t& consumed)
      : text_(text), consumed_(consumed), first_line_(first_line), line_(first_line) {}

  LocatedJson root;

  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(int64_t value) { return scalar(value); }
  bool number_unsigned(uint64_t value) { return scalar(value); }
  bool number_float(double value, const std::string&) { return scalar(value); }
  bool string(std::string& value) { return scalar(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool start_object(size_t) { return open(LocatedJson::Kind::kObject); }
  bool start_array(size_t) { return open(LocatedJson::Kind::kArray); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    open_.back()->keys.push_back(std::move(name));
    key_line_ = line();
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) {
    auto mistake = find_json_mistake(text_);
    if (!mistake) throw SyntaxError{line(), 1, "it cannot be read from here on"};
    mistake->line += first_line_ - 1;
    throw SyntaxError(*mistake);
  }

 private:
  /// The line of the last token: the parser reads at most one character beyond it.
  int64_t line() {
    const size_t end = consumed_ > 0 ? consumed_ - 1 : 0;
    if (end > scanned_) {
      line_ += std::count(text_.begin() + static_cast<std::ptrdiff_t>(scanned_),
                          text_.begin() + static_cast<std::ptrdiff_t>(end), '\n');
      scanned_ = end;
    }
    return line_;
  }

  LocatedJson& place() {
    if (++values_ > kMaxValues)
      throw SyntaxError{line(), 1, "more than " + std::to_string(kMaxValues) + " values; split the file"};
    LocatedJson* slot = &root;
    int64_t at = line();
    if (!open_.empty()) {
      if (open_.back()->is_object()) at = key_line_;
      slot = &open_.back()->values.emplace_back();
    }
    slot->line = at;
    return *slot;
  }

  bool scalar(nlohmann::json value) {
    place().scalar = std::move(value);
    return true;
  }

  bool open(LocatedJson::Kind kind) {
    if (open_.size() >= kMaxNesting)
      throw SyntaxError{line(), 1, "more than " + std::to_string(kMaxNesting) + " nested levels"};
    LocatedJson& value = place();
    value.kind = kind;
    open_.push_back(&value);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const size_t& consumed_;
  size_t scanned_ = 0;
  int64_t values_ = 0;
  int64_t first_line_, line_, key_line_ = 1;
  // Only the last element of a vector is ever open, so growth beside it moves none of these.
  std::vector<LocatedJson*> open_;
};

}  // namespace

const LocatedJson* LocatedJson::find(const std::string& key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &values[static_cast<size_t>(found - keys.begin())];
}

std::string LocatedJson::text() const {
  if (!spelling.empty()) return spelling;
  return scalar.is_string() ? scalar.get<std::string>() : scalar.dump();
}

std::string LocatedJson::shown() const {
  if (is_object()) return "an object";
  if (is_array()) return "an array";
  if (!spelling.empty()) return shortened(spelling, 60);
  return shortened(scalar.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 60);
}

nlohmann::ordered_json LocatedJson::plain() const {
  if (kind == Kind::kScalar) return scalar;
  nlohmann::ordered_json out = is_array() ? nlohmann::ordered_json::array() : nlohmann::ordered_json::object();
  for (size_t i = 0; i < values.size(); ++i) {
    if (is_array())
      out.push_back(values[i].plain());
    else
      out[keys[i]] = values[i].plain();
  }
  return out;
}

LocatedJson parse_located_json(std::string_view text, int64_t first_line) {
  size_t consumed = 0;
  Builder builder(text, first_line, consumed);
  nlohmann::json::sax_parse(CountingIterator{text.data(), &consumed},
                            CountingIterator{text.data() + text.size(), &consumed}, &builder);
  return std::move(builder.root);
}

}  // namespace tessera
