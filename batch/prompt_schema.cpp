#include "batch/prompt_file.h"

namespace tessera {
namespace {

using nlohmann::ordered_json;

/// FILE:STRENGTH, an object, or a list of these.
ordered_json lora_schema(const JobOption& option) {
  const ordered_json text = {{"type", "string"}};
  const ordered_json strength = {{"type", "number"}, {"minimum", option.low}, {"maximum", option.high}};
  const ordered_json object = {{"type", "object"},
                               {"properties",
                                {{"path", text},
                                 {"strength", strength},
                                 {"sha256", text},
                                 {"expert", {{"type", "string"}, {"enum", {"high", "low"}}}}}},
                               {"required", {"path"}}};
  return {{"anyOf", {text, object, {{"type", "array"}, {"items", {{"anyOf", {text, object}}}}}}}};
}

/// FILE, or an object.
ordered_json picture_schema() {
  const ordered_json text = {{"type", "string"}};
  const ordered_json object = {
      {"type", "object"}, {"properties", {{"path", text}, {"sha256", text}}}, {"required", {"path"}}};
  return {{"anyOf", {text, object}}};
}

ordered_json value_schema(const JobOption& option) {
  ordered_json schema = {{"description", option.help}};
  const auto limits = [&](const char* type) {
    schema["type"] = type;
    schema["minimum"] = nlohmann::json(option.low);
    schema["maximum"] = nlohmann::json(option.high);
  };
  std::visit(
      [&](auto field) {
        using Field = decltype(field);
        if constexpr (std::is_same_v<Field, SizeField>) {
          schema["anyOf"] = {{{"type", "string"}, {"pattern", "^[0-9]+[xX*][0-9]+$"}},
                             {{"type", "array"}, {"items", {{"type", "integer"}}}, {"minItems", 2}, {"maxItems", 2}}};
        } else {
          using Slot = std::remove_reference_t<decltype(std::declval<Job&>().*field)>;
          if constexpr (std::is_same_v<Slot, bool>)
            schema["type"] = "boolean";
          else if constexpr (std::is_same_v<Slot, int64_t> || std::is_same_v<Slot, std::optional<int64_t>>)
            limits("integer");
          else if constexpr (std::is_same_v<Slot, std::optional<double>>)
            limits("number");
          else if constexpr (std::is_same_v<Slot, Seed>)
            schema.update({{"type", "integer"}, {"minimum", -1}, {"maximum", Seed::kLargest}});
          else if constexpr (std::is_same_v<Slot, std::optional<FrameRate>>)
            schema.update({{"anyOf",
                            {{{"type", "number"}, {"minimum", option.low}, {"maximum", option.high}},
                             {{"type", "string"}, {"pattern", "^[0-9]+([.][0-9]+|/[0-9]+)?$"}}}}});
          else if constexpr (std::is_same_v<Slot, std::vector<LoraUse>>)
            schema.update(lora_schema(option));
          else if constexpr (std::is_same_v<Slot, InputPicture>)
            schema.update(picture_schema());
          else
            schema["type"] = "string";
        }
      },
      option.field);
  if (!option.choices.empty()) schema["enum"] = option.choices;
  for (const auto& [synonym, choice] : option.synonyms) schema["enum"].push_back(synonym);
  if (option.list) schema["type"] = {"string", "array"};
  if (option.list) schema["items"] = {{"type", "number"}};
  return schema;
}

ordered_json list_of(const ordered_json& item) {
  return {{"type", "array"}, {"items", item}, {"minItems", 1}};
}

void add_option(ordered_json& properties, ordered_json& grid, const JobOption& option) {
  const ordered_json schema = value_schema(option);
  std::vector<std::string> names = {json_key(option)};
  if (!option.key.empty()) names.push_back(option.name);
  for (std::string alias : option.aliases) {
    std::replace(alias.begin(), alias.end(), '-', '_');
    names.push_back(alias);
  }
  for (const std::string& name : names) {
    properties[name] = option.name == "seed" ? ordered_json{{"anyOf", {schema, list_of(schema)}}} : schema;
    if (option.recipe || option.name == "size") grid[name] = list_of(schema);
  }
}

ordered_json settings_schema(bool in_defaults) {
  ordered_json properties = ordered_json::object(), grid = ordered_json::object();
  for (const JobOption& option : job_options())
    if (allowed_in_prompt_file(option, in_defaults)) add_option(properties, grid, option);
  if (!in_defaults)
    properties["id"] = {{"description", "Names the output: a relative path without extension"},
                        {"type", {"string", "integer"}},
                        {"maxLength", 1000}};
  properties["seeds"] = grid["seed"];
  properties["grid"] = {{"description", "Lists of values; every combination is rendered"},
                        {"type", "object"},
                        {"properties", grid},
                        {"additionalProperties", false}};
  return {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
}

}  // namespace

ordered_json prompt_schema() {
  const ordered_json text = {{"type", "string"}};
  const ordered_json prompts = {{"type", "array"}, {"items", {{"anyOf", {text, {{"$ref", "#/$defs/prompt"}}}}}}};
  const ordered_json whole = {{"type", "object"},
                              {"properties",
                               {{"$schema", text},
                                {"version", {{"const", 1}}},
                                {"defaults", {{"$ref", "#/$defs/defaults"}}},
                                {"prompts", prompts}}},
                              {"required", {"prompts"}},
                              {"additionalProperties", false}};
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "Prompts for tessera batch"},
          {"anyOf", {whole, prompts}},
          {"$defs", {{"defaults", settings_schema(true)}, {"prompt", settings_schema(false)}}}};
}

}  // namespace tessera
