#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

/// pipelines/imagenet_classes.txt, built into the program: line i is class i, its names joined by ", ".
std::string_view imagenet_class_lines();

/// The names of a model's classes. A class has one or several names joined by ", ", the usual one first:
/// "great grey owl, great gray owl, Strix nebulosa".
class ClassNames {
 public:
  /// `lines[i]` holds the names of class i; "" for one without.
  explicit ClassNames(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  /// The 1,000 classes of ImageNet (ILSVRC 2012).
  static const ClassNames& imagenet();

  int64_t size() const { return static_cast<int64_t>(lines_.size()); }
  /// The usual name of class i; "" when it has none.
  std::string name(int64_t i) const;
  const std::vector<std::string>& lines() const { return lines_; }

  /// The class of a number from 0 to classes - 1 or of a name. A name is looked for as written and then without regard
  /// to case; each time all names of a class together first, then its usual one, then any. Throws Error with the
  /// nearest name when there is none, and with the numbers when several classes have it ("crane" is a bird and a
  /// machine).
  int64_t find(const std::string& text, int64_t classes) const;
  /// The classes of a list: names and numbers joined by commas. A text that is one class's names is that class.
  std::vector<int64_t> find_all(const std::string& text, int64_t classes) const;

 private:
  std::vector<int64_t> matches(const std::string& text) const;

  std::vector<std::string> lines_;
};

}  // namespace tessera
