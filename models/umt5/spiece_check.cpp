#include "models/umt5/spiece_check.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace tessera {
namespace {

// Field numbers of sentencepiece_model.proto.
constexpr uint64_t kPieces = 1, kNormalizer = 3, kDenormalizer = 5;
constexpr uint64_t kPieceText = 1, kPieceScore = 2, kCharacterMap = 2;

/// One field of a protocol buffer: a number (varint), 4 or 8 bytes, or a text.
struct Field {
  uint64_t number = 0;
  enum class Kind { kVarint, kFixed64, kBytes, kFixed32 } kind = Kind::kVarint;
  std::string_view bytes;
};

/// Reads the fields of one message, front to back.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  /// nullopt at the end, and at damage (see damaged()).
  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const auto tag = varint();
    if (!tag || *tag > UINT32_MAX) return damage();  // the library would drop the bits above
    Field field{*tag >> 3, Field::Kind::kVarint, {}};
    switch (*tag & 7) {
      case 0:
        if (!varint()) return damage();
        return field;
      case 1:
        field.kind = Field::Kind::kFixed64;
        return take(field, 8);
      case 2: {
        field.kind = Field::Kind::kBytes;
        const auto size = varint();
        return size ? take(field, *size) : damage();
      }
      case 5:
        field.kind = Field::Kind::kFixed32;
        return take(field, 4);
      default:
        return damage();
    }
  }
  bool damaged() const { return damaged_; }

 private:
  std::optional<Field> damage() {
    damaged_ = true;
    return std::nullopt;
  }
  std::optional<Field> take(Field field, uint64_t size) {
    if (size > rest_.size()) return damage();
    field.bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return field;
  }
  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::string_view rest_;
  bool damaged_ = false;
};

std::string piece_problem(std::string_view message) {
  Fields fields(message);
  std::string_view text;
  while (const auto field = fields.next()) {
    if (field->number == kPieceText) text = field->bytes;
    if (field->number != kPieceScore || field->kind != Field::Kind::kFixed32) continue;
    float score = 0;
    std::memcpy(&score, field->bytes.data(), sizeof score);
    if (!std::isfinite(score)) return "has a piece whose score is not finite";
  }
  if (fields.damaged()) return "is damaged";
  if (text.empty()) return "has an empty piece";
  return text.find('\0') == text.npos ? "" : "has a piece with a zero byte";
}

/// A double array of Darts-clone: the state `base` and a byte lead to the unit base ^ byte.
class Trie {
 public:
  Trie(std::string_view units, size_t texts) : units_(units.size() / sizeof(uint32_t)), texts_(texts) {
    std::memcpy(units_.data(), units.data(), units_.size() * sizeof(uint32_t));
  }

  /// Whether every walk stays inside, and every leaf points into the texts.
  bool sound() const {
    if (units_.empty()) return false;
    std::vector<bool> seen(units_.size());
    std::vector<uint32_t> open;
    const auto enter = [&](uint32_t base) {
      if ((base | 0xFFu) >= units_.size()) return false;
      if (!seen[base]) open.push_back(base);
      seen[base] = true;
      return true;
    };
    if (!enter(offset(units_[0]))) return false;
    while (!open.empty()) {
      const uint32_t base = open.back();
      open.pop_back();
      for (uint32_t byte = 0; byte < 256; ++byte) {
        const uint32_t unit = units_[base ^ byte];
        if (label(unit) != byte) continue;
        const uint32_t next = (base ^ byte) ^ offset(unit);
        if (!enter(next) || (has_leaf(unit) && value(units_[next]) >= texts_)) return false;
      }
    }
    return true;
  }

 private:
  static uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
  static uint32_t label(uint32_t unit) { return unit & ((1u << 31) | 0xFFu); }
  static uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
  static bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }

  std::vector<uint32_t> units_;
  size_t texts_;
};

/// A character map: the trie's size, the trie, and the texts it leads to, each ended by a zero byte.
bool is_sound_map(std::string_view map) {
  if (map.empty()) return true;
  uint32_t size = 0;
  if (map.size() <= sizeof size) return false;
  std::memcpy(&size, map.data(), sizeof size);
  map.remove_prefix(sizeof size);
  if (size < sizeof size || size >= map.size() || map.back() != '\0') return false;
  return Trie(map.substr(0, size), map.size() - size).sound();
}

std::string normalizer_problem(std::string_view message) {
  Fields fields(message);
  while (const auto field = fields.next())
    if (field->number == kCharacterMap && !is_sound_map(field->bytes)) return "has a damaged character map";
  return fields.damaged() ? "is damaged" : "";
}

}  // namespace

std::string spiece_problem(std::string_view model) {
  Fields fields(model);
  std::string problem;
  while (const auto field = fields.next()) {
    if (field->number == kPieces) problem = piece_problem(field->bytes);
    if (field->number == kNormalizer || field->number == kDenormalizer) problem = normalizer_problem(field->bytes);
    if (!problem.empty()) return problem;
  }
  return fields.damaged() ? "is damaged or cut off" : "";
}

}  // namespace tessera
