#include "weights/npy.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "weights/shown.h"

namespace tessera {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kMostDims = 32;  // NumPy's own limit

struct NamedType {
  std::string_view name;  // kind and bytes
  at::ScalarType dtype;
};
constexpr std::array kTypes{NamedType{"f2", at::kHalf}, NamedType{"f4", at::kFloat}, NamedType{"f8", at::kDouble},
                            NamedType{"u1", at::kByte}, NamedType{"i1", at::kChar},  NamedType{"i2", at::kShort},
                            NamedType{"i4", at::kInt},  NamedType{"i8", at::kLong},  NamedType{"b1", at::kBool}};

/// The Python literal {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }, and nothing else of Python.
class Literal {
 public:
  Literal(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NpyHeader parse() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !descr) {
        descr = true;
        if (peek() == '[') fail("it holds an array of structures; save plain arrays");
        header.descr = quoted();
      } else if (key == "fortran_order" && !order) {
        order = true;
        header.fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        header.shape = numbers();
      } else {
        fail("its header has the key " + shown(key) + ", which is unknown or repeated");
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    if (peek() != '\0' || !descr || !order || !shape) fail("its header is damaged");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const { throw Error(where_ + ": " + problem); }
  char peek() {
    while (place_ < text_.size() && (text_[place_] == ' ' || text_[place_] == '\n')) ++place_;
    return place_ < text_.size() ? text_[place_] : '\0';
  }
  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++place_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail("its header is damaged");
  }
  std::string quoted() {
    const char mark = peek();
    if (mark != '\'' && mark != '"') fail("its header is damaged");
    const size_t end = text_.find(mark, ++place_);
    if (end == std::string_view::npos) fail("its header is damaged");
    const std::string found(text_.substr(place_, end - place_));
    place_ = end + 1;
    return found;
  }
  bool boolean() {
    peek();
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(place_).starts_with(word)) {
        place_ += word.size();
        return word == "True";
      }
    fail("its header is damaged");
  }
  std::vector<int64_t> numbers() {
    std::vector<int64_t> list;
    expect('(');
    while (!take(')')) {
      peek();
      int64_t number = -1;
      const auto [end, problem] = std::from_chars(text_.data() + place_, text_.data() + text_.size(), number);
      if (problem != std::errc() || number < 0 || list.size() == kMostDims) fail("its header has a bad shape");
      place_ = static_cast<size_t>(end - text_.data());
      list.push_back(number);
      if (peek() == 'L') ++place_;  // Python 2 wrote 3L
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return list;
  }

  std::string_view text_;
  const std::string& where_;
  size_t place_ = 0;
};

void swap_bytes(uint8_t* data, size_t count, size_t width) {
  for (size_t i = 0; i < count; ++i) std::reverse(data + i * width, data + (i + 1) * width);
}

}  // namespace

at::ScalarType NpyHeader::dtype(const std::string& where) const {
  if (descr.find('O') != std::string::npos)
    throw Error(where + ": it holds pickled Python objects, which are never executed; save plain arrays of numbers");
  for (const auto& type : kTypes)
    if (descr.size() == 3 && std::string_view("<>|=").find(descr[0]) != std::string_view::npos &&
        descr.substr(1) == type.name)
      return type.dtype;
  throw Error(where + ": want numbers of type f2, f4, f8, u1, i1, i2, i4, i8 or b1, found " + shown(descr));
}

uint64_t NpyHeader::item_bytes(const std::string& where) const {
  if (!is_text()) return at::elementSize(dtype(where));
  uint64_t length = 0;
  const auto [end, problem] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), length);
  if (problem != std::errc() || end != descr.data() + descr.size() || length > std::numeric_limits<int32_t>::max())
    throw Error(where + ": its header has the bad type " + shown(descr));
  return length * (descr[1] == 'U' ? 4 : 1);
}

uint64_t NpyHeader::data_bytes(const std::string& where) const {
  uint64_t bytes_ = item_bytes(where);
  const bool none = std::find(shape.begin(), shape.end(), 0) != shape.end() || bytes_ == 0;
  if (none) return 0;
  for (const int64_t size : shape) {
    if (bytes_ > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / static_cast<uint64_t>(size))
      throw Error(where + ": its header claims more data than any file can hold");
    bytes_ *= static_cast<uint64_t>(size);
  }
  return bytes_;
}

NpyHeader parse_npy_header(std::span<const uint8_t> start, const std::string& where) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (!text.starts_with(kNpyMagic) || text.size() < 10)
    throw Error(where + ": it is not a NumPy array (it does not begin with \\x93NUMPY)");
  const auto version = static_cast<unsigned>(start[6]);
  if (version < 1 || version > 3)
    throw Error(where + ": want NumPy format version 1, 2 or 3, found " + std::to_string(version));
  const size_t width = version == 1 ? 2 : 4;
  uint32_t length = 0;
  for (size_t i = 0; i < width && 8 + i < start.size(); ++i) length |= static_cast<uint32_t>(start[8 + i]) << (8 * i);
  if (8 + width + uint64_t{length} > text.size())
    throw Error(where + ": its header claims to have " + std::to_string(length) +
                " bytes, more than there are: the file is truncated or damaged");
  NpyHeader header = Literal(text.substr(8 + width, length), where).parse();
  header.bytes = 8 + width + length;
  return header;
}

std::string make_npy_header(const std::string& descr, at::IntArrayRef shape) {
  std::string sizes;
  for (const int64_t size : shape) sizes += std::to_string(size) + (shape.size() == 1 ? "," : ", ");
  if (shape.size() > 1) sizes.resize(sizes.size() - 2);
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + sizes + "), }";
  const size_t whole = (10 + header.size() + 1 + kAlign - 1) / kAlign * kAlign;
  header.resize(whole - 11, ' ');
  header += '\n';
  std::string bytes(kNpyMagic);
  bytes += {'\x01', '\x00', static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  return bytes + header;
}

std::string npy_descr(at::ScalarType dtype) {
  for (const auto& type : kTypes)
    if (type.dtype == dtype) return (at::elementSize(dtype) == 1 ? "|" : "<") + std::string(type.name);
  TORCH_CHECK(false, "NumPy has no type for ", dtype);
}

at::Tensor npy_tensor(const NpyHeader& header, std::vector<int64_t> shape, std::span<const uint8_t> data,
                      const std::string& where) {
  if (header.fortran_order) std::reverse(shape.begin(), shape.end());
  at::Tensor tensor = at::empty(shape, header.dtype(where));
  TORCH_CHECK(tensor.nbytes() == data.size(), "npy_tensor: want ", tensor.nbytes(), " bytes, got ", data.size());
  if (data.empty()) return tensor;
  auto* bytes = static_cast<uint8_t*>(tensor.mutable_data_ptr());
  std::memcpy(bytes, data.data(), data.size());
  const size_t width = tensor.element_size();
  if (header.big_endian() && width > 1) swap_bytes(bytes, static_cast<size_t>(tensor.numel()), width);
  if (header.fortran_order) {
    std::vector<int64_t> axes(shape.size());
    for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(axes.size() - 1 - i);
    tensor = tensor.permute(axes).contiguous();
  }
  return tensor;
}

}  // namespace tessera
