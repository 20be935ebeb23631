#include "core/job.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/utf8.h"

namespace tessera {
namespace {

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

template <class Number>
bool parse_number(const std::string& text, Number& number) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size();
}

std::string plain(double number) {
  return nlohmann::json(number).dump();
}

std::string plain_limit(double limit) {
  return std::trunc(limit) == limit ? std::to_string(static_cast<int64_t>(limit)) : plain(limit);
}

std::string quoted(const std::string& value) {
  return nlohmann::json(shortened(value, 60)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] void refuse(const JobOption& option, const std::string& wanted, const std::string& value) {
  throw Error("--" + option.name + " wants " + wanted + ", got " + quoted(value));
}

std::string range_text(const JobOption& option, const std::string& kind) {
  return kind + " from " + plain_limit(option.low) + " to " + plain_limit(option.high);
}

/// A whole number, written as 16, 16.0 or 1e3; in the last two forms only where a double holds it exactly.
template <class Whole>
bool parse_whole(const std::string& text, Whole& number) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (parse_number(text, number)) return true;
  double real = 0;
  if (!parse_number(text, real) || std::trunc(real) != real || std::abs(real) > kExact) return false;
  if (std::is_unsigned_v<Whole> && real < 0) return false;
  number = static_cast<Whole>(real);
  return true;
}

int64_t whole_number(const JobOption& option, const std::string& value) {
  int64_t number = 0;
  if (!parse_whole(value, number) || static_cast<double>(number) < option.low ||
      static_cast<double>(number) > option.high)
    refuse(option, range_text(option, "a whole number"), value);
  return number;
}

Seed seed_value(const JobOption& option, const std::string& value) {
  int64_t number = 0;
  if (parse_whole(value, number) && number == -1) return {};
  uint64_t seed = 0;
  if (!parse_whole(value, seed)) refuse(option, "a whole number from -1 to " + std::to_string(Seed::kLargest), value);
  return seed;
}

FrameRate frame_rate(const JobOption& option, const std::string& value) {
  const auto rate = parse_frame_rate(value);
  if (!rate || !(rate->value() >= option.low && rate->value() <= option.high))
    refuse(option, range_text(option, "frames per second") + " such as 24, 23.976 or 30000/1001", value);
  return *rate;
}

double real_number(const JobOption& option, const std::string& value) {
  double number = 0;
  if (!parse_number(value, number) || !(number >= option.low && number <= option.high))
    refuse(option, range_text(option, "a number"), value);
  return number;
}

bool truth(const JobOption& option, const std::string& value) {
  if (value != "true" && value != "false") refuse(option, "true or false", value);
  return value == "true";
}

std::string allowed_text(const JobOption& option, const std::string& value) {
  if (option.recipe && !is_utf8_text(value)) throw Error("--" + option.name + " is not UTF-8: " + quoted(value));
  if (const auto synonym = option.synonyms.find(value); synonym != option.synonyms.end()) return synonym->second;
  const auto& choices = option.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end())
    throw Error("--" + option.name + ": unknown value " + quoted(value) + suggestion(value, choices));
  return value;
}

void set_size(Job& job, const JobOption& option, const std::string& value) {
  const size_t cross = value.find_first_of("xX*");
  if (cross == std::string::npos) refuse(option, "WIDTHxHEIGHT such as 832x480", value);
  int64_t width = 0, height = 0;
  if (!parse_whole(value.substr(0, cross), width) || !parse_whole(value.substr(cross + 1), height))
    refuse(option, "WIDTHxHEIGHT such as 832x480", value);
  job.width = whole_number(find_job_option("width"), value.substr(0, cross));
  job.height = whole_number(find_job_option("height"), value.substr(cross + 1));
}

constexpr size_t kMostLoras = 64;

double lora_strength(const JobOption& option, const std::string& value) {
  double number = 0;
  if (!parse_number(value, number) || !(number >= option.low && number <= option.high))
    refuse(option, range_text(option, "a strength"), value);
  return number;
}

/// FILE[:STRENGTH]; a file whose name ends in a colon and a number needs a strength behind it.
LoraUse lora_of_text(const JobOption& option, const std::string& value) {
  const size_t colon = value.rfind(':');
  double number = 0;
  const bool strength = colon != std::string::npos && parse_number(value.substr(colon + 1), number);
  LoraUse use{.path = strength ? value.substr(0, colon) : value};
  if (strength) use.strength = lora_strength(option, value.substr(colon + 1));
  if (use.path.empty()) refuse(option, "FILE or FILE:STRENGTH", value);
  if (!is_utf8_text(use.path)) throw Error("--" + option.name + " is not UTF-8: " + quoted(value));
  return use;
}

/// {"path": "a.safetensors", "strength": 0.8}; sd.cpp's server says multiplier.
LoraUse lora_of_object(const JobOption& option, const nlohmann::json& object) {
  LoraUse use;
  for (const auto& [key, value] : object.items()) {
    if (key == "path" && value.is_string())
      use.path = value.get<std::string>();
    else if ((key == "strength" || key == "multiplier") && value.is_number())
      use.strength = lora_strength(option, value.dump());
    else if (key == "sha256" && value.is_string())
      use.sha256 = value.get<std::string>();
    else if (key == "expert" && (value == "high" || value == "low"))
      use.expert = value.get<std::string>();
    else if (key == "is_high_noise" && value == true)  // sd.cpp's server
      use.expert = "high";
    else if (key != "is_high_noise" || value != false)
      throw Error("--" + option.name + ": \"" + shortened(key, 60) +
                  "\" of a LoRA is not known or has a value of another kind; want {\"path\": text, \"strength\": "
                  "number}, or \"expert\": \"high\" or "
                  "\"low\" beside them");
  }
  if (use.path.empty() || !is_utf8_text(use.path))
    throw Error("--" + option.name + ": a LoRA wants a \"path\", got " + quoted(object.dump()));
  return use;
}

std::vector<LoraUse> lora_list(const JobOption& option, const std::string& value) {
  if (!value.starts_with('[')) return {lora_of_text(option, value)};
  const auto array = nlohmann::json::parse(value, nullptr, false);
  if (!array.is_array()) return {lora_of_text(option, value)};
  std::vector<LoraUse> uses;
  for (const nlohmann::json& item : array) {
    if (!item.is_string() && !item.is_object())
      refuse(option, "a list of FILE:STRENGTH or {\"path\", \"strength\"}", value);
    uses.push_back(item.is_string() ? lora_of_text(option, item.get<std::string>()) : lora_of_object(option, item));
  }
  if (uses.size() > kMostLoras)
    throw Error("--" + option.name + ": " + std::to_string(uses.size()) + " LoRAs, at most " +
                std::to_string(kMostLoras) + " are taken");
  return uses;
}

/// FILE, or {"path": "a.png", "sha256": "..."} as recipes have it.
InputPicture input_picture(const JobOption& option, const std::string& value) {
  InputPicture picture{.path = value};
  const auto object = value.starts_with('{') ? nlohmann::json::parse(value, nullptr, false) : nlohmann::json();
  if (object.is_object()) {
    picture.path.clear();
    for (const auto& [key, part] : object.items()) {
      if ((key != "path" && key != "sha256") || !part.is_string())
        throw Error("--" + option.name + ": \"" + shortened(key, 60) +
                    "\" of a picture is not known or is no text; want {\"path\": text}");
      (key == "path" ? picture.path : picture.sha256) = part.get<std::string>();
    }
    if (picture.path.empty()) throw Error("--" + option.name + ": a picture wants a \"path\", got " + quoted(value));
  }
  if (!is_utf8_text(picture.path)) throw Error("--" + option.name + " is not UTF-8: " + quoted(value));
  return picture;
}

nlohmann::ordered_json value_json(const auto& value) {
  return value;
}

nlohmann::ordered_json value_json(const std::vector<LoraUse>& loras) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const LoraUse& use : loras) {
    list.push_back({{"path", use.path}, {"strength", use.strength}});
    if (!use.sha256.empty()) list.back()["sha256"] = use.sha256;
    if (!use.expert.empty()) list.back()["expert"] = use.expert;
  }
  return list;
}

nlohmann::ordered_json value_json(const InputPicture& picture) {
  if (picture.sha256.empty()) return picture.path;
  return {{"path", picture.path}, {"sha256", picture.sha256}};
}

/// Calls `visit` with the option's value in `job` when it has one.
template <class Visit>
void visit_value(const Job& job, const JobOption& option, const Visit& visit) {
  std::visit(
      [&](auto field) {
        if constexpr (!std::is_same_v<decltype(field), SizeField>) {
          const auto& value = job.*field;
          if constexpr (requires { value.has_value(); }) {
            if (value) visit(*value);
          } else if constexpr (std::is_same_v<decltype(value), const std::vector<LoraUse>&> ||
                               std::is_same_v<decltype(value), const InputPicture&>) {
            if (!value.empty()) visit(value);
          } else {
            visit(value);
          }
        }
      },
      option.field);
}

}  // namespace

const JobOption& find_job_option(const std::string& name) {
  const std::string wanted = dashed(name);
  std::vector<std::string> known;
  for (const auto& option : job_options()) {
    if (option.name == wanted) return option;
    if (std::find(option.aliases.begin(), option.aliases.end(), wanted) != option.aliases.end()) return option;
    known.push_back(json_key(option));
  }
  throw Error("unknown option \"" + name + "\"" + suggestion(name, known));
}

std::string value_of_all(const JobOption& option, const std::vector<std::string>& given) {
  if (!std::holds_alternative<std::vector<LoraUse> Job::*>(option.field)) return given.back();
  std::vector<LoraUse> all;
  for (const std::string& value : given)
    for (LoraUse& use : lora_list(option, value)) all.push_back(std::move(use));
  return value_json(all).dump();
}

std::string json_key(const JobOption& option) {
  if (!option.key.empty()) return option.key;
  std::string key = option.name;
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

void set_job_option(Job& job, const JobOption& option, const std::string& value) {
  std::visit(
      [&](auto field) {
        if constexpr (std::is_same_v<decltype(field), SizeField>) {
          set_size(job, option, value);
        } else {
          auto& slot = job.*field;
          using Slot = std::remove_reference_t<decltype(slot)>;
          if constexpr (std::is_same_v<Slot, bool>) {
            slot = truth(option, value);
          } else if constexpr (std::is_same_v<Slot, int64_t> || std::is_same_v<Slot, std::optional<int64_t>>) {
            slot = whole_number(option, value);
          } else if constexpr (std::is_same_v<Slot, std::optional<double>>) {
            slot = real_number(option, value);
          } else if constexpr (std::is_same_v<Slot, std::optional<FrameRate>>) {
            slot = frame_rate(option, value);
          } else if constexpr (std::is_same_v<Slot, Seed>) {
            slot = seed_value(option, value);
          } else if constexpr (std::is_same_v<Slot, std::vector<LoraUse>>) {
            slot = lora_list(option, value);
          } else if constexpr (std::is_same_v<Slot, InputPicture>) {
            slot = input_picture(option, value);
          } else {
            slot = allowed_text(option, value);
          }
        }
      },
      option.field);
}

std::string default_text(const JobOption& option) {
  if (std::holds_alternative<SizeField>(option.field) || std::holds_alternative<bool Job::*>(option.field)) return "";
  if (std::holds_alternative<std::vector<LoraUse> Job::*>(option.field)) return "";
  if (std::holds_alternative<InputPicture Job::*>(option.field)) return "";
  std::string text = "model default";
  visit_value(Job{}, option, [&](const auto& value) {
    if constexpr (requires { std::to_string(value); })
      text = plain_limit(static_cast<double>(value));
    else if constexpr (std::is_same_v<decltype(value), const Seed&>)
      text = value.text();
    else if constexpr (std::is_same_v<decltype(value), const FrameRate&>)
      text = frame_rate_text(value);
    else if constexpr (std::is_assignable_v<std::string&, decltype(value)>)
      text = value;
  });
  return text;
}

void apply_json(Job& job, const nlohmann::json& object, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    try {
      const JobOption& option = find_job_option(key);
      const bool list = value.is_array() && std::holds_alternative<std::vector<LoraUse> Job::*>(option.field);
      const bool picture = value.is_object() && std::holds_alternative<InputPicture Job::*>(option.field);
      if ((value.is_structured() && !list && !picture) || value.is_null())
        throw Error("\"" + key + "\" must be a string, a number, true or false, got " + value.dump().substr(0, 60));
      set_job_option(job, option, value.is_string() ? value.get<std::string>() : value.dump());
    } catch (const Error& e) {
      throw Error(where + ": " + e.what());
    }
  }
}

nlohmann::ordered_json recipe_json(const Job& job) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const auto& option : job_options())
    if (option.recipe) visit_value(job, option, [&](const auto& value) { out[json_key(option)] = value_json(value); });
  return out;
}

bool is_model_default(const JobOption& option) {
  return std::visit(
      [](auto field) {
        if constexpr (std::is_same_v<decltype(field), SizeField>)
          return false;
        else
          return requires(Job job) {
            (job.*field).has_value();
          };
      },
      option.field);
}

void fill_unset(Job& job, const Job& defaults) {
  for (const auto& option : job_options())
    std::visit(
        [&](auto field) {
          if constexpr (!std::is_same_v<decltype(field), SizeField>)
            if constexpr (requires { (job.*field).has_value(); })
              if (!(job.*field)) job.*field = defaults.*field;
        },
        option.field);
}

}  // namespace tessera
