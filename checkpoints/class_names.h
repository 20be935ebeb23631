#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

/// checkpoints/imagenet_classes.txt, built into the program: line i is class i, its names joined by ", ".
std::string_view imagenet_class_lines();

/// The names of a model's classes. A class has one or more names joined by ", ", the usual one first:
/// "great grey owl, great gray owl, Strix nebulosa".
class ClassNames {
 public:
  /// `lines[i]` holds the names of class i; "" for a class without a name.
  explicit ClassNames(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  /// The 1,000 classes of ImageNet (ILSVRC 2012).
  static const ClassNames& imagenet();

  int64_t size() const { return static_cast<int64_t>(lines_.size()); }
  /// The usual name of class i; "" when it has none.
  std::string name(int64_t i) const;
  const std::vector<std::string>& lines() const { return lines_; }

  /// The class with that number, from 0 to classes - 1, or name. A name is matched as written and then ignoring case,
  /// each time against all names of a class together, then its usual one, then any of them. Throws Error with the
  /// nearest name when none matches, and with the numbers when several do ("crane" is a bird and a machine).
  int64_t find(const std::string& text, int64_t classes) const;
  /// The classes of a list of names and numbers joined by commas. Text that is all names of one class is that class.
  std::vector<int64_t> find_all(const std::string& text, int64_t classes) const;

 private:
  std::vector<int64_t> matches(const std::string& text) const;

  std::vector<std::string> lines_;
};

}  // namespace tessera
