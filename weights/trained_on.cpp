#include "weights/trained_on.h"

#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

constexpr const char* kKey = "trained_on";

std::vector<std::string> texts(const JsonConfig& json, const std::string& key) {
  std::vector<std::string> out;
  if (!json.has(key)) return out;
  const nlohmann::json& list = json.json().at(key);
  if (!list.is_array()) json.fail(key, "must be a list of strings");
  for (const nlohmann::json& item : list) {
    if (!item.is_string()) json.fail(key, "must be a list of strings");
    out.push_back(item.get<std::string>());
  }
  return out;
}

bool is_letter(uint32_t code) {
  if (code < 0x80) return (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') || code == '\'';
  const auto within = [code](uint32_t low, uint32_t high) { return code >= low && code <= high; };
  // Latin-1 symbols, general punctuation, ideographic punctuation, the byte order mark
  return !within(0x80, 0xBF) && !within(0x2000, 0x206F) && !within(0x3000, 0x303F) && code != 0xFEFF;
}

}  // namespace

std::optional<TrainedOn> TrainedOn::read(const JsonConfig& index) {
  if (!index.has(kKey)) return {};
  const JsonConfig object = index.object(kKey);
  object.reject_unknown({"sizes", "frames", "words"});
  const std::vector<std::string> words = texts(object, "words");
  return TrainedOn{
      .sizes = texts(object, "sizes"), .frames = object.integers("frames", {}), .words = {words.begin(), words.end()}};
}

nlohmann::json TrainedOn::to_json() const {
  return {{"sizes", sizes}, {"frames", frames}, {"words", words}};
}

std::string TrainedOn::frames_text() const {
  if (frames.empty()) return "";
  const std::vector<int64_t> first(frames.begin(), frames.end() - 1);
  return joined(first) + (first.empty() ? "" : " or ") + counted(frames.back(), "frame");
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    std::optional<uint32_t> code = next_code_point(text, at);
    if (code && *code >= 'A' && *code <= 'Z') *code += 'a' - 'A';
    const bool letter = code && is_letter(*code);
    if (letter && !inside) words.emplace_back();
    if (letter)
      *code < 0x80 ? words.back() += static_cast<char>(*code) : words.back() += text.substr(begin, at - begin);
    inside = letter;
  }
  return words;
}

}  // namespace tessera
