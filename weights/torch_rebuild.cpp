#include "weights/torch_rebuild.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "core/error.h"
#include "core/size_limits.h"
#include "core/utf8.h"
#include "weights/shown.h"

namespace tessera {
namespace {

using Values = std::vector<ArchiveValue>;

constexpr int64_t kMostExpanded = int64_t{1} << 24;  // elements of a view that repeats those of its storage

struct DtypeNames {
  at::ScalarType type;
  std::vector<const char*> names;
};

const std::vector<DtypeNames>& dtypes() {
  static const std::vector<DtypeNames> kDtypes = {
      {at::kDouble, {"float64", "double", "DoubleStorage"}},
      {at::kFloat, {"float32", "float", "FloatStorage"}},
      {at::kHalf, {"float16", "half", "HalfStorage"}},
      {at::kBFloat16, {"bfloat16", "BFloat16Storage"}},
      {at::kLong, {"int64", "long", "LongStorage"}},
      {at::kInt, {"int32", "int", "IntStorage"}},
      {at::kShort, {"int16", "short", "ShortStorage"}},
      {at::kChar, {"int8", "CharStorage"}},
      {at::kByte, {"uint8", "ByteStorage"}},
      {at::kBool, {"bool", "BoolStorage"}},
      {at::kUInt16, {"uint16"}},
      {at::kUInt32, {"uint32"}},
      {at::kUInt64, {"uint64"}},
      {at::kComplexHalf, {"complex32", "chalf"}},
      {at::kComplexFloat, {"complex64", "cfloat", "ComplexFloatStorage"}},
      {at::kComplexDouble, {"complex128", "cdouble", "ComplexDoubleStorage"}},
      {at::kFloat8_e4m3fn, {"float8_e4m3fn"}},
      {at::kFloat8_e5m2, {"float8_e5m2"}},
      {at::kFloat8_e4m3fnuz, {"float8_e4m3fnuz"}},
      {at::kFloat8_e5m2fnuz, {"float8_e5m2fnuz"}},
      {at::kFloat8_e8m0fnu, {"float8_e8m0fnu"}},
  };
  return kDtypes;
}

[[noreturn]] void fail(const std::string& where, const std::string& function, const std::string& problem) {
  throw Error(where + ": its pickle is damaged: " + function + " gets " + problem);
}

/// Whole numbers of a tuple or torch.Size.
std::optional<std::vector<int64_t>> integers(const ArchiveValue& value) {
  const Values* items = value.items();
  if (!items) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const auto& item : *items) {
    if (!item.integer()) return std::nullopt;
    numbers.push_back(*item.integer());
  }
  return numbers;
}

/// _rebuild_tensor(storage, offset, size, stride), _v2(..., requires_grad, hooks, metadata), and _v3(...,
/// requires_grad, hooks, dtype, metadata).
ArchiveValue rebuild_tensor(const std::string& name, const Values& arguments, const std::string& where) {
  const bool v3 = name.ends_with("_v3");
  if (arguments.size() < (v3 ? 7 : 4)) fail(where, name, std::to_string(arguments.size()) + " arguments");
  const auto storage = arguments[0].storage_part();
  const auto offset = arguments[1].integer();
  const auto sizes = integers(arguments[2]), strides = integers(arguments[3]);
  if (!storage || !offset || !sizes || !strides)
    fail(where, name,
         arguments[0].description() + ", " + arguments[1].description() + ", " + arguments[2].description() + ", " +
             arguments[3].description() + "; want a storage, an offset, sizes and strides");
  std::optional<at::ScalarType> dtype = storage->dtype;
  if (v3) {
    const std::string* given = arguments[6].class_name();
    dtype = given && given->starts_with("torch.") ? torch_dtype(given->substr(6)) : std::nullopt;
    if (!dtype) fail(where, name, (given ? shown(*given) : arguments[6].description()) + " as dtype");
  }
  if (!dtype) fail(where, name, "an untyped storage and no dtype");
  if (const size_t metadata = v3 ? 7 : 6; arguments.size() > metadata)
    for (const char* flag : {"conj", "neg"})
      if (const ArchiveValue* set = arguments[metadata].find(flag); set && set->boolean().value_or(false))
        throw Error(where + ": a tensor of storage " + shown(storage->name) + " is a lazy " + flag +
                    " view, which is not supported; save it after .resolve_conj().resolve_neg()");
  return storage_view(*storage, *dtype, *offset, *sizes, *strides, where);
}

/// The pairs of OrderedDict([(key, value), ...]) or the copy of dict(other); empty for anything else.
ArchiveValue make_dict(const Values& arguments) {
  const auto made = std::make_shared<ArchiveValue::Dict>();
  for (const auto& argument : arguments) {
    if (const auto dict = argument.dict_part()) made->entries = dict->entries;
    if (const Values* pairs = argument.items())
      for (const auto& pair : *pairs)
        if (const Values* both = pair.items(); both && both->size() == 2)
          made->entries.emplace_back((*both)[0], (*both)[1]);
  }
  return made;
}

ArchiveValue make_sequence(const Values& arguments, bool tuple) {
  const auto made = std::make_shared<ArchiveValue::Sequence>();
  made->tuple = tuple;
  if (!arguments.empty())
    if (const Values* items = arguments[0].items()) made->items = *items;
  return made;
}

/// Bytes as protocol 2 writes them: a string of characters below 256, and "latin1".
std::optional<ArchiveValue> encoded(const Values& arguments) {
  if (arguments.empty()) return ArchiveValue::bytes("");
  const std::string* text = arguments[0].text();
  if (arguments.size() != 2 || !text || !arguments[1].text() || *arguments[1].text() != "latin1") return std::nullopt;
  std::string bytes;
  for (size_t at = 0; at < text->size();) {
    const std::optional<uint32_t> code = next_code_point(*text, at);
    if (!code || *code > 0xFF) return std::nullopt;
    bytes.push_back(static_cast<char>(*code));
  }
  return ArchiveValue::bytes(std::move(bytes));
}

std::optional<ArchiveValue> device_name(const Values& arguments) {
  if (arguments.empty() || !arguments[0].text()) return std::nullopt;
  std::string name = *arguments[0].text();
  if (arguments.size() > 1 && arguments[1].integer()) name += ":" + std::to_string(*arguments[1].integer());
  return ArchiveValue::text(std::move(name));
}

/// The dtype of a pickled numpy.dtype, e.g. numpy.dtype("f8", False, True); empty for strings, structures and the like.
std::optional<at::ScalarType> numpy_dtype(const ArchiveValue& value) {
  static const std::map<std::string, at::ScalarType> kNames = {
      {"f8", at::kDouble},       {"f4", at::kFloat},         {"f2", at::kHalf},   {"i8", at::kLong},
      {"i4", at::kInt},          {"i2", at::kShort},         {"i1", at::kChar},   {"u1", at::kByte},
      {"u2", at::kUInt16},       {"u4", at::kUInt32},        {"u8", at::kUInt64}, {"b1", at::kBool},
      {"c8", at::kComplexFloat}, {"c16", at::kComplexDouble}};
  const auto object = value.object_part();
  if (!object || object->class_name != "numpy.dtype" || object->arguments.empty() || !object->arguments[0].text())
    return std::nullopt;
  if (const ArchiveValue* order = value.find("byteorder"); order && order->text() && *order->text() == ">")
    return std::nullopt;
  const auto found = kNames.find(*object->arguments[0].text());
  return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

std::optional<at::Tensor> numpy_tensor(const ArchiveValue& dtype, const std::vector<int64_t>& shape,
                                       const ArchiveValue& data) {
  const auto type = numpy_dtype(dtype);
  const std::string* bytes = data.bytes();
  if (!type || !bytes || shape.size() > limits::kDimensions) return std::nullopt;
  int64_t size = static_cast<int64_t>(c10::elementSize(*type));
  for (const int64_t length : shape)
    if (length < 1 || __builtin_mul_overflow(size, length, &size)) return std::nullopt;
  if (static_cast<uint64_t>(size) != bytes->size()) return std::nullopt;
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(*type));
  std::memcpy(tensor.data_ptr(), bytes->data(), bytes->size());
  return tensor;
}

/// A numpy scalar becomes a plain number.
std::optional<ArchiveValue> numpy_scalar(const Values& arguments) {
  if (arguments.size() != 2) return std::nullopt;
  const auto tensor = numpy_tensor(arguments[0], {}, arguments[1]);
  if (!tensor || tensor->is_complex()) return std::nullopt;
  if (tensor->scalar_type() == at::kBool) return ArchiveValue(tensor->item<bool>());
  if (tensor->is_floating_point()) return ArchiveValue(tensor->item<double>());
  return tensor->scalar_type() == at::kUInt64 ? std::nullopt : std::optional(ArchiveValue(tensor->item<int64_t>()));
}

/// An array of `shape`; its data lie in C order or, `column_major`, in Fortran order.
std::optional<at::Tensor> numpy_array(const ArchiveValue& dtype, std::vector<int64_t> shape, bool column_major,
                                      const ArchiveValue& data) {
  if (column_major) std::reverse(shape.begin(), shape.end());
  auto tensor = numpy_tensor(dtype, shape, data);
  if (!tensor || !column_major || shape.size() < 2) return tensor;
  std::vector<int64_t> reversed(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) reversed[i] = static_cast<int64_t>(shape.size() - 1 - i);
  return tensor->permute(reversed);
}

/// _frombuffer(data, dtype, shape, "C" or "F"): an array in protocol 5.
std::optional<ArchiveValue> numpy_from_buffer(const Values& arguments) {
  if (arguments.size() != 4 || !integers(arguments[2]) || !arguments[3].text()) return std::nullopt;
  const std::string& order = *arguments[3].text();
  if (order != "C" && order != "F") return std::nullopt;
  const auto array = numpy_array(arguments[1], *integers(arguments[2]), order == "F", arguments[0]);
  return array ? std::optional(ArchiveValue(*array)) : std::nullopt;
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr const char* kRebuildSubclass = "torch._tensor._rebuild_from_type_v2";

/// _rebuild_from_type_v2(function, type, arguments, state): what the function gives. PyTorch never nests it, and a file
/// that does could nest it without end.
std::optional<ArchiveValue> rebuild_subclass(const Values& arguments, const std::string& where) {
  const std::string* function = arguments.size() >= 3 ? arguments[0].class_name() : nullptr;
  if (!function || !arguments[2].items()) return std::nullopt;
  if (*function == kRebuildSubclass) fail(where, kRebuildSubclass, "itself as the function to call");
  return rebuild(*function, *arguments[2].items(), where);
}

}  // namespace

std::optional<at::ScalarType> torch_dtype(const std::string& name) {
  for (const auto& dtype : dtypes())
    for (const char* known : dtype.names)
      if (name == known) return dtype.type;
  return std::nullopt;
}

at::Tensor storage_view(const ArchiveValue::Storage& storage, at::ScalarType dtype, int64_t offset,
                        const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                        const std::string& where) {
  const std::string at_storage = where + ": a tensor of storage " + shown(storage.name);
  if (sizes.size() != strides.size() || sizes.size() > limits::kDimensions)
    throw Error(at_storage + " has " + std::to_string(sizes.size()) + " sizes and " + std::to_string(strides.size()) +
                " strides; want as many, at most 64");
  const int64_t held = static_cast<int64_t>(storage.bytes.nbytes() / c10::elementSize(dtype));
  int64_t elements = 1, span = 1, last = offset;
  bool fits = offset >= 0, empty = false;
  for (size_t i = 0; i < sizes.size() && fits; ++i) {
    int64_t reach = 0;
    empty = empty || sizes[i] == 0;
    fits = sizes[i] >= 0 && strides[i] >= 0 && !__builtin_mul_overflow(std::max<int64_t>(sizes[i], 1), span, &span) &&
           !__builtin_mul_overflow(std::max<int64_t>(sizes[i] - 1, 0), strides[i], &reach) &&
           !__builtin_add_overflow(last, reach, &last);
    elements = span;
  }
  fits = fits && (empty ? offset <= held : last < held) && (empty || elements <= std::max(held, kMostExpanded));
  if (!fits)
    throw Error(at_storage + " does not lie inside it: " + c10::str(at::IntArrayRef(sizes)) + " with strides " +
                c10::str(at::IntArrayRef(strides)) + " from element " + std::to_string(offset) + ", the storage has " +
                std::to_string(held) + "; the file is damaged");
  at::Tensor view = at::empty({0}, at::TensorOptions().dtype(dtype));
  view.set_(storage.bytes, offset, sizes, strides);
  return view;
}

std::optional<ArchiveValue> rebuild(const std::string& name, const Values& arguments, const std::string& where) {
  if (is_one_of(name,
                {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}))
    return rebuild_tensor(name, arguments, where);
  if (is_one_of(name, {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
                       "torch.nn.parameter.Parameter"}) &&
      !arguments.empty())
    return arguments[0];
  if (name == kRebuildSubclass) return rebuild_subclass(arguments, where);
  if (is_one_of(name, {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict",
                       "__builtin__.dict"}))
    return make_dict(arguments);
  if (is_one_of(name, {"builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset",
                       "builtins.list", "__builtin__.list", "collections.deque"}))
    return make_sequence(arguments, false);
  if (is_one_of(name, {"torch.Size", "builtins.tuple", "__builtin__.tuple"})) return make_sequence(arguments, true);
  if (name == "torch.device") return device_name(arguments);
  if (is_one_of(name, {"_codecs.encode", "builtins.bytes", "__builtin__.bytes", "builtins.bytearray",
                       "__builtin__.bytearray"}))
    return encoded(arguments);
  if (is_one_of(name, {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}))
    return numpy_scalar(arguments);
  if (is_one_of(name, {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}))
    return numpy_from_buffer(arguments);
  return std::nullopt;
}

bool rebuild_numpy(ArchiveValue::Object& object, const Values& state) {
  if (object.class_name == "numpy.dtype" && state.size() > 1 && state[1].text()) {
    object.fields.entries.emplace_back(ArchiveValue::text("byteorder"), state[1]);
    return true;
  }
  // (version, shape, dtype, column-major, data)
  if (!is_one_of(object.class_name, {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}) ||
      state.size() != 5 || !integers(state[1]) || !state[3].boolean())
    return false;
  const auto tensor = numpy_array(state[2], *integers(state[1]), *state[3].boolean(), state[4]);
  if (!tensor) return false;
  object.tensor = *tensor;
  return true;
}

}  // namespace tessera
