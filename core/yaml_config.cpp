#include "core/yaml_config.h"

#include "core/error.h"
#include "core/located_yaml.h"
#include "core/size_limits.h"

namespace tessera {
namespace {

using nlohmann::json;

json to_json(const LocatedJson& value, const std::string& where) {
  if (value.kind == LocatedJson::Kind::kScalar) return value.scalar;
  json out = value.is_array() ? json::array() : json::object();
  for (size_t i = 0; i < value.values.size(); ++i) {
    const LocatedJson& part = value.values[i];
    if (value.is_array()) {
      out.push_back(to_json(part, where));
      continue;
    }
    const std::string& key = value.keys[i];
    if (out.contains(key))
      throw Error(where + ": line " + std::to_string(part.line) + ": the key " + json(key).dump() + " is given twice");
    out[key] = to_json(part, where);
  }
  return out;
}

}  // namespace

json read_yaml_object(const std::filesystem::path& path) {
  const std::string text = read_small_file(path, limits::kYamlBytes, "a YAML config");
  try {
    json value = to_json(parse_located_yaml(text), path.string());
    if (!value.is_object()) throw Error(path.string() + " holds " + value.type_name() + ", want a YAML map");
    return value;
  } catch (const SyntaxError& error) {
    throw Error(path.string() + " is not valid YAML: line " + std::to_string(error.line) + ": " + error.problem);
  }
}

}  // namespace tessera
