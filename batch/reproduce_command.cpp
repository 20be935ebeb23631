#include "batch/reproduce_command.h"

#include <algorithm>
#include <cctype>

#include "core/job.h"

namespace tessera {
namespace {

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 32 || c == 127;
}

bool is_plain(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_-./:,=@%+").find(c) != std::string::npos;
}

std::string escaped(const std::string& text) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out = "$'";
  for (const char c : text) {
    if (c == '\'' || c == '\\')
      out += std::string("\\") + c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (is_control(c))
      out += std::string("\\x") + kDigits[static_cast<unsigned char>(c) >> 4] + kDigits[c & 15];
    else
      out += c;
  }
  return out + "'";
}

/// A value behind its flag; one that begins with '-' would pass for a flag itself.
std::string with_value(const std::string& flag, const std::string& value) {
  return flag + (!value.empty() && value[0] == '-' ? "=" : " ") + shell_quoted(value);
}

}  // namespace

std::string shell_quoted(const std::string& text) {
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) return text;
  if (std::any_of(text.begin(), text.end(), is_control)) return escaped(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string reproduce_command(const nlohmann::json& recipe, const std::string& output) {
  const nlohmann::json assumed = recipe_json(Job{});
  std::string line = "tessera generate";
  for (const JobOption& option : job_options()) {
    const std::string key = json_key(option);
    if (!recipe.contains(key) || (assumed.contains(key) && assumed[key] == recipe[key])) continue;
    const nlohmann::json& value = recipe[key];
    if (option.name == "lora") {
      const bool experts =
          std::any_of(value.begin(), value.end(), [](const auto& lora) { return lora.contains("expert"); });
      if (experts) line += " " + with_value("--lora", value.dump());
      for (const nlohmann::json& lora : experts ? nlohmann::json::array() : value)
        line +=
            " " + with_value("--lora", lora.value("path", "") + ":" + lora.value("strength", nlohmann::json(1)).dump());
      continue;
    }
    if (value.is_object() && value.contains("path")) {  // a picture
      line += " " + with_value("--" + option.name, value.value("path", ""));
      continue;
    }
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (option.name == "prompt" && text.rfind('-', 0) != 0)
      line += " " + shell_quoted(text);
    else
      line += " " + (value.is_boolean() ? "--" + option.name : with_value("--" + option.name, text));
  }
  return line + " -o " + shell_quoted(output[0] == '-' ? "./" + output : output);
}

}  // namespace tessera
