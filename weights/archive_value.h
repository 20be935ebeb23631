#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace tessera {

/// One value of a PyTorch archive: plain data, a tensor, or a Python object of which only the class name and the
/// fields are known. Copies share their contents. A tree read from a file has no cycles, a depth of at most 100 and
/// at most ten million values; shared values count every time they occur.
class ArchiveValue {
 public:
  enum class Kind { kNone, kBool, kInteger, kNumber, kText, kBytes, kList, kTuple, kDict, kTensor, kStorage, kObject };
  using Entry = std::pair<ArchiveValue, ArchiveValue>;

  /// A list or tuple.
  struct Sequence {
    bool tuple = false;
    std::vector<ArchiveValue> items;
  };
  /// A dict, its entries in file order.
  struct Dict {
    std::vector<Entry> entries;
  };
  /// A Python object that was not created: an argparse.Namespace, an optimizer, or just the name of a class or
  /// function.
  struct Object {
    std::string class_name;               ///< with its module, e.g. "argparse.Namespace"
    bool is_class = false;                ///< the class or function itself, not an object created by it
    std::vector<ArchiveValue> arguments;  ///< of the call that would have created it
    Dict fields;                          ///< its attributes, or its entries when it is a kind of dict
    at::Tensor tensor;                    ///< of a numpy array: its numbers; undefined otherwise
  };
  /// Bytes that tensors are views of; tensors of one storage share memory.
  struct Storage {
    c10::Storage bytes;
    std::optional<at::ScalarType> dtype;  ///< empty: each tensor has its own
    std::string name;                     ///< its key in the archive, for messages
  };

  ArchiveValue() = default;
  ArchiveValue(bool value) : value_(value) {}
  ArchiveValue(int64_t value) : value_(value) {}
  ArchiveValue(double value) : value_(value) {}
  ArchiveValue(at::Tensor value) : value_(std::move(value)) {}
  ArchiveValue(std::shared_ptr<Sequence> value) : value_(std::move(value)) {}
  ArchiveValue(std::shared_ptr<Dict> value) : value_(std::move(value)) {}
  ArchiveValue(std::shared_ptr<Object> value) : value_(std::move(value)) {}
  ArchiveValue(std::shared_ptr<Storage> value) : value_(std::move(value)) {}
  static ArchiveValue text(std::string value);
  static ArchiveValue bytes(std::string value);

  Kind kind() const;
  /// "a dict", "a tensor", "an object of class argparse.Namespace"...: for messages.
  std::string description() const;

  bool is_none() const { return kind() == Kind::kNone; }
  /// Each is empty or nullptr for a value of another kind.
  std::optional<bool> boolean() const;
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;  ///< of a float or an integer
  const std::string* text() const;       ///< UTF-8
  const std::string* bytes() const;
  const at::Tensor* tensor() const;                ///< also of a numpy array
  const std::vector<ArchiveValue>* items() const;  ///< of a list or tuple
  const std::vector<Entry>* entries() const;       ///< of a dict, or the fields of an object
  const std::string* class_name() const;           ///< of an object

  /// The entry of a dict, or the field of an object, under a text key; nullptr when there is none.
  const ArchiveValue* find(const std::string& key) const;

  /// For the reader: the shared parts themselves; nullptr for a value of another kind.
  std::shared_ptr<Sequence> sequence_part() const { return part<std::shared_ptr<Sequence>>(); }
  std::shared_ptr<Dict> dict_part() const { return part<std::shared_ptr<Dict>>(); }
  std::shared_ptr<Object> object_part() const { return part<std::shared_ptr<Object>>(); }
  std::shared_ptr<Storage> storage_part() const { return part<std::shared_ptr<Storage>>(); }

 private:
  struct Text {
    bool utf8;
    std::string characters;
  };
  template <class Part>
  Part part() const {
    const Part* held = std::get_if<Part>(&value_);
    return held ? *held : nullptr;
  }
  std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<const Text>, std::shared_ptr<Sequence>,
               std::shared_ptr<Dict>, std::shared_ptr<Object>, std::shared_ptr<Storage>, at::Tensor>
      value_;
};

}  // namespace tessera
