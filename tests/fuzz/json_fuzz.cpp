#include "core/json_config.h"
#include "core/located_yaml.h"
#include "tests/fuzz/fuzz_support.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

/// Asks for every key in every way.
void use(const JsonConfig& config, int depth = 0) {
  for (const auto& [key, value] : config.json().items()) {
    const auto ask = [&, name = key](auto&& get) { fuzz::expect_value_or_error([&] { get(name); }); };
    ask([&](const std::string& name) { config.integer(name); });
    ask([&](const std::string& name) { config.integer(name, 1); });
    ask([&](const std::string& name) { config.number(name, 1); });
    ask([&](const std::string& name) { config.boolean(name, true); });
    ask([&](const std::string& name) { config.text(name); });
    ask([&](const std::string& name) { config.integers(name); });
    ask([&](const std::string& name) { config.numbers(name); });
    ask([&](const std::string& name) { config.booleans(name, {}); });
    ask([&](const std::string& name) { config.fail(name, "is shown"); });
    if (depth < 3) ask([&](const std::string& name) { use(config.object(name), depth + 1); });
  }
  fuzz::expect_value_or_error([&] { config.reject_unknown({"num_layers", "attention"}); });
}

void show(const LocatedJson& value) {
  (void)value.shown();
  for (const auto& key : value.keys) (void)value.find(key);
  for (const auto& child : value.values) show(child);
}

}  // namespace
}  // namespace tessera

/// One text as a config, as the index of a model folder and of shards, and as a prompt file's JSON and YAML.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::Folder folder;
  const std::string_view text = fuzz::text_of(data, size);
  const auto config = folder.write("transformer/config.json", text);
  folder.write("transformer/diffusion_pytorch_model.safetensors.index.json", text);
  folder.write("model_index.json", text);
  fuzz::expect_value_or_error([&] { use(JsonConfig::read(config)); });
  fuzz::expect_value_or_error([&] {
    for (const auto& part : open_model_dir(folder.path()).components) part.config();
  });
  fuzz::expect_value_or_error([&] { read_weights(open_component(folder.path() / "transformer")); });
  // What the parser refuses has a mistake that can be named.
  if (!find_json_mistake(text) && !nlohmann::json::accept(text)) std::abort();
  for (const bool yaml : {false, true})
    fuzz::expect_value_or_error([&] {
      try {
        show(yaml ? parse_located_yaml(text) : parse_located_json(text, 1));
      } catch (const SyntaxError& e) {
        throw Error("line " + std::to_string(e.line) + ": " + e.problem);
      }
    });
  return 0;
}
