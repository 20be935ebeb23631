#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weights/archive_value.h"

namespace tessera {

/// Creates the containers of a pickle and owns them until the tree is known to be safe: a hostile pickle can build
/// chains so deep that destroying them recursively would overflow the stack, and cycles that nothing would free.
class PickleTree {
 public:
  PickleTree() = default;
  PickleTree(const PickleTree&) = delete;
  PickleTree& operator=(const PickleTree&) = delete;
  ~PickleTree();

  std::shared_ptr<ArchiveValue::Sequence> sequence(bool tuple, std::vector<ArchiveValue> items = {});
  std::shared_ptr<ArchiveValue::Dict> dict();
  std::shared_ptr<ArchiveValue::Object> object(std::string class_name, bool is_class);

  /// Checks everything created so far, then gives up its ownership. Returns "" or what is wrong: a cycle, more than 100
  /// nested levels, more than ten million values.
  std::string release();

 private:
  std::vector<std::shared_ptr<ArchiveValue::Sequence>> sequences_;
  std::vector<std::shared_ptr<ArchiveValue::Dict>> dicts_;
  std::vector<std::shared_ptr<ArchiveValue::Object>> objects_;
};

}  // namespace tessera
