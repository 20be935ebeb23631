#include "checkpoints/class_names.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return parts;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789", text[0] == '-' ? 1 : 0) == std::string::npos;
}

int64_t class_number(const std::string& text, int64_t classes) {
  int64_t number = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size() || number < 0 || number >= classes)
    throw Error("--class " + text.substr(0, 60) + ": this model has classes 0 to " + std::to_string(classes - 1));
  return number;
}

}  // namespace

const ClassNames& ClassNames::imagenet() {
  static const ClassNames names = [] {
    std::vector<std::string> lines;
    const std::string_view text = imagenet_class_lines();
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      lines.emplace_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return ClassNames(std::move(lines));
  }();
  return names;
}

std::string ClassNames::name(int64_t i) const {
  return i >= 0 && i < size() ? parts_of(lines_[static_cast<size_t>(i)]).front() : "";
}

std::vector<int64_t> ClassNames::matches(const std::string& text) const {
  for (const bool fold : {false, true}) {
    const auto same = [&](const std::string& name) {
      return fold ? in_lower_case(name) == in_lower_case(text) : name == text;
    };
    std::vector<int64_t> whole, usual, any;
    for (int64_t i = 0; i < size(); ++i) {
      const std::string& line = lines_[static_cast<size_t>(i)];
      const std::vector<std::string> names = parts_of(line);
      if (same(line)) whole.push_back(i);
      if (same(names.front())) usual.push_back(i);
      if (std::any_of(names.begin(), names.end(), same)) any.push_back(i);
    }
    // "maillot" is the only name of one class and the usual name of another: it means both.
    if (whole.size() == 1 && (usual.empty() || usual == whole)) return whole;
    for (const auto& found : {usual, any})
      if (!found.empty()) return found;
  }
  return {};
}

int64_t ClassNames::find(const std::string& text, int64_t classes) const {
  const std::string wanted = trimmed(text);
  if (is_number(wanted)) return class_number(wanted, classes);
  if (lines_.empty())
    throw Error("--class \"" + wanted.substr(0, 60) +
                "\": the classes of this model have no names; want a number from 0 to " + std::to_string(classes - 1));
  const std::vector<int64_t> found = matches(wanted);
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    std::vector<std::string> known;
    for (const std::string& line : lines_)
      for (const std::string& name : parts_of(line))
        if (!name.empty()) known.push_back(in_lower_case(name));
    const std::string near = nearest_match(in_lower_case(wanted), known);
    throw Error("--class: no class is called \"" + wanted.substr(0, 60) + "\"" +
                (near.empty() ? "; want a name from ImageNet such as golden retriever, or a number from 0 to " +
                                    std::to_string(classes - 1)
                              : " (did you mean " + near + "?)"));
  }
  const std::string list =
      joined(found, ", ", [&](int64_t i) { return std::to_string(i) + " (" + lines_[static_cast<size_t>(i)] + ")"; });
  throw Error("--class: several classes are called \"" + wanted + "\": " + list + "; use the number");
}

std::vector<int64_t> ClassNames::find_all(const std::string& text, int64_t classes) const {
  const std::string wanted = trimmed(text);
  for (int64_t i = 0; i < size(); ++i)
    if (in_lower_case(lines_[static_cast<size_t>(i)]) == in_lower_case(wanted) && wanted.find(',') != std::string::npos)
      return {i};
  std::vector<int64_t> found;
  for (const std::string& part : parts_of(wanted)) {
    if (part.empty())
      throw Error("--class wants names or numbers joined by commas, got \"" + text.substr(0, 60) + "\"");
    found.push_back(find(part, classes));
  }
  return found;
}

}  // namespace tessera
