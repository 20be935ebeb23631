#include "weights/pickle_tree.h"

#include <algorithm>
#include <unordered_map>

#include "core/size_limits.h"

namespace tessera {
namespace {

const ArchiveValue& part_of(const ArchiveValue::Entry& entry, size_t index) {
  return index % 2 == 0 ? entry.first : entry.second;
}

/// The child of a container at `index`, nullptr beyond the last.
const ArchiveValue* child(const ArchiveValue& value, size_t index) {
  if (const auto sequence = value.sequence_part())
    return index < sequence->items.size() ? &sequence->items[index] : nullptr;
  if (const auto object = value.object_part(); object && index < object->arguments.size())
    return &object->arguments[index];
  else if (object)
    index -= object->arguments.size();
  const auto* entries = value.entries();
  return entries && index / 2 < entries->size() ? &part_of((*entries)[index / 2], index) : nullptr;
}

/// Identifies a container; nullptr for plain values.
const void* identity(const ArchiveValue& value) {
  if (const auto sequence = value.sequence_part()) return sequence.get();
  if (const auto dict = value.dict_part()) return dict.get();
  return value.object_part().get();
}

/// Measures depth and expanded size of trees, each container once, without recursion.
class Measure {
 public:
  /// "" or what is wrong with the tree under `root`.
  std::string check(const ArchiveValue& root) {
    enter(root);
    while (!path_.empty()) {
      const Size& size = path_.back().size;
      if (size.depth > limits::kPickleDepth || static_cast<int64_t>(path_.size()) > limits::kPickleDepth)
        return "has more than " + std::to_string(limits::kPickleDepth) + " nested levels";
      if (size.values > limits::kPickleValues)
        return "holds more than " + std::to_string(limits::kPickleValues) + " values";
      const ArchiveValue* next = child(path_.back().value, path_.back().next++);
      if (!next) {
        leave();
        continue;
      }
      const void* id = identity(*next);
      const auto known = id ? known_.find(id) : known_.end();
      if (!id)
        add({1, 1});
      else if (known == known_.end())
        enter(*next);
      else if (known->second.depth == kOpen)
        return "holds a container that contains itself";
      else
        add(known->second);
    }
    return "";
  }

 private:
  static constexpr int64_t kOpen = -1;  ///< the depth of a container whose children are being measured
  struct Size {
    int64_t depth, values;
  };
  struct Step {
    ArchiveValue value;
    size_t next;
    Size size;
  };

  void enter(const ArchiveValue& value) {
    const auto [known, fresh] = known_.try_emplace(identity(value), Size{kOpen, 0});
    if (fresh) path_.push_back({value, 0, {1, 1}});
  }
  /// The parent is one deeper than its deepest child.
  void add(const Size& size) {
    Size& parent = path_.back().size;
    parent = {std::max(parent.depth, size.depth + 1), std::min(parent.values + size.values, limits::kPickleValues + 1)};
  }
  void leave() {
    const Size size = path_.back().size;
    known_[identity(path_.back().value)] = size;
    path_.pop_back();
    if (!path_.empty()) add(size);
  }

  std::unordered_map<const void*, Size> known_;
  std::vector<Step> path_;
};

}  // namespace

PickleTree::~PickleTree() {
  // Every container is still owned by a list here, so emptying one never destroys another.
  for (const auto& sequence : sequences_) sequence->items.clear();
  for (const auto& dict : dicts_) dict->entries.clear();
  for (const auto& object : objects_) {
    object->arguments.clear();
    object->fields.entries.clear();
  }
}

std::shared_ptr<ArchiveValue::Sequence> PickleTree::sequence(bool tuple, std::vector<ArchiveValue> items) {
  return sequences_.emplace_back(
      std::make_shared<ArchiveValue::Sequence>(ArchiveValue::Sequence{tuple, std::move(items)}));
}

std::shared_ptr<ArchiveValue::Dict> PickleTree::dict() {
  return dicts_.emplace_back(std::make_shared<ArchiveValue::Dict>());
}

std::shared_ptr<ArchiveValue::Object> PickleTree::object(std::string class_name, bool is_class) {
  auto made = std::make_shared<ArchiveValue::Object>();
  made->class_name = std::move(class_name);
  made->is_class = is_class;
  return objects_.emplace_back(std::move(made));
}

std::string PickleTree::release() {
  Measure measure;
  const auto check_all = [&](const auto& parts) {
    std::string problem;
    for (size_t i = 0; i < parts.size() && problem.empty(); ++i) problem = measure.check(ArchiveValue(parts[i]));
    return problem;
  };
  std::string problem = check_all(sequences_);
  if (problem.empty()) problem = check_all(dicts_);
  if (problem.empty()) problem = check_all(objects_);
  if (!problem.empty()) return problem;
  sequences_.clear();
  dicts_.clear();
  objects_.clear();
  return "";
}

}  // namespace tessera
