#include "core/json_config.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/json_syntax.h"
#include "core/located_json.h"
#include "core/size_limits.h"
#include "core/utf8.h"

namespace tessera {
namespace {

using nlohmann::json;

/// JSON on one line and of bounded length, for messages about untrusted files.
std::string shown(const json& value, size_t most) {
  return shortened(value.dump(-1, ' ', false, json::error_handler_t::replace), most);
}

bool is_whole(const json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
  return value.is_number_integer() ||
         (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>() &&
          std::abs(value.get<double>()) < 9e15);
}

/// Infinity and -Infinity outside strings become null, padded so that positions in messages stay true.
std::string without_infinities(std::string text) {
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\') ++i;
    if (in_string) continue;
    for (const std::string_view token : {"-Infinity", "Infinity"})
      if (std::string_view(text).substr(i, token.size()) == token)
        text.replace(i, token.size(), "null" + std::string(token.size() - 4, ' '));
  }
  return text;
}

int64_t whole(const json& value) {
  return value.is_number_integer() ? value.get<int64_t>() : static_cast<int64_t>(value.get<double>());
}

}  // namespace

json read_json_object(const std::filesystem::path& path) {
  const std::string content = without_infinities(read_small_file(path, limits::kConfigBytes, "a JSON file of a model"));
  json parsed;
  int64_t values = 0;
  const auto watch = [&](int depth, json::parse_event_t, const json&) {
    if (depth > kMaxNesting)
      throw Error(path.string() + " has more than " + std::to_string(kMaxNesting) + " nested levels");
    if (++values > limits::kConfigValues)
      throw Error(path.string() + " has more than " + std::to_string(limits::kConfigValues) + " values");
    return true;
  };
  try {
    parsed = json::parse(content, watch);
  } catch (const json::exception&) {  // also of numbers that no double holds
    const auto mistake = find_json_mistake(content);
    throw Error(path.string() + " is not valid JSON" +
                (mistake ? ": line " + std::to_string(mistake->line) + ", column " + std::to_string(mistake->column) +
                               ": " + mistake->problem
                         : ""));
  }
  if (!parsed.is_object()) throw Error(path.string() + " holds " + parsed.type_name() + ", want a JSON object");
  return parsed;
}

JsonConfig::JsonConfig(nlohmann::json object, std::string where)
    : object_(std::move(object)), where_(std::move(where)) {
  if (!object_.is_object()) throw Error(where_ + " holds " + object_.type_name() + ", want a JSON object");
}

JsonConfig JsonConfig::read(const std::filesystem::path& path) {
  return {read_json_object(path), path.string()};
}

bool JsonConfig::has(const std::string& key) const {
  return object_.contains(key) && !object_.at(key).is_null();
}

void JsonConfig::fail(const std::string& key, const std::string& problem) const {
  throw Error(where_ + ": " + shown(key, 100) + " " + problem + ", got " +
              (object_.contains(key) ? shown(object_.at(key), 60) : "nothing"));
}

const nlohmann::json& JsonConfig::need(const std::string& key) const {
  if (!has(key)) fail(key, "is required");
  return object_.at(key);
}

int64_t JsonConfig::integer(const std::string& key) const {
  if (!is_whole(need(key))) fail(key, "must be a whole number");
  return whole(object_.at(key));
}

int64_t JsonConfig::integer(const std::string& key, int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}

double JsonConfig::number(const std::string& key, double fallback) const {
  if (!has(key)) return fallback;
  if (!object_.at(key).is_number()) fail(key, "must be a number");
  return object_.at(key).get<double>();
}

bool JsonConfig::boolean(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!object_.at(key).is_boolean()) fail(key, "must be true or false");
  return object_.at(key).get<bool>();
}

std::string JsonConfig::text(const std::string& key) const {
  if (!need(key).is_string()) fail(key, "must be a string");
  return object_.at(key).get<std::string>();
}

std::string JsonConfig::text(const std::string& key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}

std::vector<int64_t> JsonConfig::integers(const std::string& key) const {
  if (!need(key).is_array()) fail(key, "must be a list of whole numbers");
  std::vector<int64_t> out;
  for (const auto& value : object_.at(key)) {
    if (!is_whole(value)) fail(key, "must be a list of whole numbers");
    out.push_back(whole(value));
  }
  return out;
}

std::vector<int64_t> JsonConfig::integers(const std::string& key, std::vector<int64_t> fallback) const {
  return has(key) ? integers(key) : std::move(fallback);
}

std::vector<double> JsonConfig::numbers(const std::string& key) const {
  if (!need(key).is_array()) fail(key, "must be a list of numbers");
  std::vector<double> out;
  for (const auto& value : object_.at(key)) {
    if (!value.is_number()) fail(key, "must be a list of numbers");
    out.push_back(value.get<double>());
  }
  return out;
}

std::vector<bool> JsonConfig::booleans(const std::string& key, std::vector<bool> fallback) const {
  if (!has(key)) return fallback;
  if (!object_.at(key).is_array()) fail(key, "must be a list of true and false");
  std::vector<bool> out;
  for (const auto& value : object_.at(key)) {
    if (!value.is_boolean()) fail(key, "must be a list of true and false");
    out.push_back(value.get<bool>());
  }
  return out;
}

JsonConfig JsonConfig::object(const std::string& key) const {
  if (!need(key).is_object()) fail(key, "must be an object");
  const std::string quoted = shown(key, 100);
  return {object_.at(key), where_ + ": " + (quoted == '"' + key + '"' ? key : quoted)};
}

void JsonConfig::reject_unknown(const std::vector<std::string>& known) const {
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      throw Error(where_ + ": unknown key " + shown(key, 100) + suggestion(key, known));
  }
}

}  // namespace tessera
