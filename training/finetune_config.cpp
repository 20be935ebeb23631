#include "training/finetune_config.h"

#include <utility>

namespace tessera {
namespace {

std::vector<std::string> finetune_keys(TuneMethod method) {
  std::vector<std::string> keys = RunConfig::keys();
  for (const char* key : {"model",           "transformer",  "cache",          "output", "batch",      "accumulate",
                          "recompute",       "clip_norm",    "beta1",          "beta2",  "eps",        "weight_decay",
                          "caption_dropout", "time_mean",    "time_deviation", "shift",  "validation", "validate_every",
                          "samples",         "sample_steps", "sample_guidance"})
    keys.emplace_back(key);
  for (const char* key : {"rank", "alpha", "targets"})
    if (method == TuneMethod::kLora) keys.emplace_back(key);
  for (const char* key : {"muon_rate", "ema_decay"})
    if (method == TuneMethod::kFull) keys.emplace_back(key);
  return keys;
}

/// RunConfig has defaults for training from nothing; fine-tuning has others.
JsonConfig with_finetune_defaults(const JsonConfig& json, TuneMethod method) {
  nlohmann::json filled = {{"learning_rate", method == TuneMethod::kLora ? 1e-4 : 2e-5},
                           {"warmup", 0.05},
                           {"decay", 0},
                           {"sheet_minutes", 30}};
  filled.update(json.json());
  return {filled, json.where()};
}

/// A number in [low, high].
double number_within(const JsonConfig& json, const std::string& key, double fallback, double low, double high) {
  const double value = json.number(key, fallback);
  if (!(value >= low && value <= high)) json.fail(key, c10::str("must be from ", low, " to ", high));
  return value;
}

LoraSettings read_lora_settings(const JsonConfig& json) {
  LoraSettings lora;
  lora.rank = at_least(json, "rank", lora.rank, 1);
  lora.alpha = number_within(json, "alpha", static_cast<double>(lora.rank), 1e-6, 65536);
  if (!json.has("targets")) return lora;
  const nlohmann::json& targets = json.json().at("targets");
  if (!targets.is_array() || targets.empty()) json.fail("targets", "must be a list of layers' names");
  lora.targets.clear();
  for (const nlohmann::json& target : targets) {
    if (!target.is_string()) json.fail("targets", "must be a list of layers' names");
    lora.targets.push_back(target.get<std::string>());
  }
  return lora;
}

}  // namespace

FinetuneConfig FinetuneConfig::read(const std::filesystem::path& path, TuneMethod method) {
  return from_json(JsonConfig::read(path), method);
}

FinetuneConfig FinetuneConfig::from_json(const JsonConfig& given, TuneMethod method) {
  constexpr double kLarge = 1e9;
  given.reject_unknown(finetune_keys(method));
  const JsonConfig json = with_finetune_defaults(given, method);
  FinetuneConfig config;
  config.method = method;
  config.run = RunConfig::from_json(json);
  config.model = json.text("model");
  config.transformer = json.text("transformer", "");
  config.cache = json.text("cache");
  config.output = json.text("output");
  config.batch = at_least(json, "batch", config.batch, 1);
  config.accumulate = at_least(json, "accumulate", config.accumulate, 1);
  config.recompute = json.boolean("recompute", config.recompute);
  config.clip_norm = number_within(json, "clip_norm", config.clip_norm, 1e-9, kLarge);
  config.beta1 = number_within(json, "beta1", config.beta1, 0, 1 - 1e-9);
  config.beta2 = number_within(json, "beta2", config.beta2, 0, 1 - 1e-9);
  config.eps = number_within(json, "eps", config.eps, 0, 1);
  config.weight_decay = number_within(json, "weight_decay", config.weight_decay, 0, kLarge);
  config.muon_rate = number_within(json, "muon_rate", config.muon_rate, 0, kLarge);
  config.ema_decay = number_within(json, "ema_decay", config.ema_decay, 0, 1 - 1e-9);
  config.caption_dropout = number_within(json, "caption_dropout", config.caption_dropout, 0, 1);
  config.times.mean = number_within(json, "time_mean", config.times.mean, -100, 100);
  config.times.deviation = number_within(json, "time_deviation", config.times.deviation, 1e-6, 100);
  config.times.shift = number_within(json, "shift", config.times.shift, 1e-6, 1e6);
  config.times_given = given.has("time_mean") || given.has("time_deviation") || given.has("shift");
  config.validation = number_within(json, "validation", config.validation, 0, 0.5);
  config.validate_every = at_least(json, "validate_every", config.validate_every, 1);
  config.samples = at_least(json, "samples", config.samples, 0);
  config.sample_steps = at_least(json, "sample_steps", config.sample_steps, 1);
  config.sample_guidance = number_within(json, "sample_guidance", config.sample_guidance, 0, 1000);
  if (method == TuneMethod::kLora) {
    config.lora = read_lora_settings(json);
    if (config.output.extension() != ".safetensors") json.fail("output", "must be a .safetensors file");
  }
  return config;
}

}  // namespace tessera
