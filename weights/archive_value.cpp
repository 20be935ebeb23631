#include "weights/archive_value.h"

#include "weights/shown.h"

namespace tessera {

ArchiveValue ArchiveValue::text(std::string value) {
  ArchiveValue made;
  made.value_ = std::make_shared<const Text>(Text{true, std::move(value)});
  return made;
}

ArchiveValue ArchiveValue::bytes(std::string value) {
  ArchiveValue made;
  made.value_ = std::make_shared<const Text>(Text{false, std::move(value)});
  return made;
}

ArchiveValue::Kind ArchiveValue::kind() const {
  struct Visitor {
    Kind operator()(std::monostate) const { return Kind::kNone; }
    Kind operator()(bool) const { return Kind::kBool; }
    Kind operator()(int64_t) const { return Kind::kInteger; }
    Kind operator()(double) const { return Kind::kNumber; }
    Kind operator()(const std::shared_ptr<const Text>& text) const { return text->utf8 ? Kind::kText : Kind::kBytes; }
    Kind operator()(const std::shared_ptr<Sequence>& items) const { return items->tuple ? Kind::kTuple : Kind::kList; }
    Kind operator()(const std::shared_ptr<Dict>&) const { return Kind::kDict; }
    Kind operator()(const std::shared_ptr<Object>& object) const {
      return object->tensor.defined() ? Kind::kTensor : Kind::kObject;
    }
    Kind operator()(const std::shared_ptr<Storage>&) const { return Kind::kStorage; }
    Kind operator()(const at::Tensor&) const { return Kind::kTensor; }
  };
  return std::visit(Visitor{}, value_);
}

std::string ArchiveValue::description() const {
  switch (kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a bool";
    case Kind::kInteger:
      return "an integer";
    case Kind::kNumber:
      return "a number";
    case Kind::kText:
      return "a string";
    case Kind::kBytes:
      return "bytes";
    case Kind::kList:
      return "a list";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kDict:
      return "a dict";
    case Kind::kTensor:
      return "a tensor";
    case Kind::kStorage:
      return "a storage";
    case Kind::kObject:
      break;
  }
  const Object& object = *object_part();
  return (object.is_class ? "the class or function " : "an object of ") + shown(object.class_name);
}

std::optional<bool> ArchiveValue::boolean() const {
  const bool* held = std::get_if<bool>(&value_);
  return held ? std::optional<bool>(*held) : std::nullopt;
}

std::optional<int64_t> ArchiveValue::integer() const {
  const int64_t* held = std::get_if<int64_t>(&value_);
  return held ? std::optional<int64_t>(*held) : std::nullopt;
}

std::optional<double> ArchiveValue::number() const {
  if (const auto whole = integer()) return static_cast<double>(*whole);
  const double* held = std::get_if<double>(&value_);
  return held ? std::optional<double>(*held) : std::nullopt;
}

const std::string* ArchiveValue::text() const {
  return kind() == Kind::kText ? &std::get<std::shared_ptr<const Text>>(value_)->characters : nullptr;
}

const std::string* ArchiveValue::bytes() const {
  return kind() == Kind::kBytes ? &std::get<std::shared_ptr<const Text>>(value_)->characters : nullptr;
}

const at::Tensor* ArchiveValue::tensor() const {
  if (kind() != Kind::kTensor) return nullptr;
  if (const at::Tensor* held = std::get_if<at::Tensor>(&value_)) return held;
  return &object_part()->tensor;
}

const std::vector<ArchiveValue>* ArchiveValue::items() const {
  const auto held = sequence_part();
  return held ? &held->items : nullptr;
}

const std::vector<ArchiveValue::Entry>* ArchiveValue::entries() const {
  if (const auto dict = dict_part()) return &dict->entries;
  const auto object = object_part();
  return object ? &object->fields.entries : nullptr;
}

const std::string* ArchiveValue::class_name() const {
  const auto object = object_part();
  return object ? &object->class_name : nullptr;
}

const ArchiveValue* ArchiveValue::find(const std::string& key) const {
  const auto* held = entries();
  if (!held) return nullptr;
  // Python keeps the last of equal keys.
  for (auto entry = held->rbegin(); entry != held->rend(); ++entry)
    if (const std::string* name = entry->first.text(); name && *name == key) return &entry->second;
  return nullptr;
}

}  // namespace tessera
