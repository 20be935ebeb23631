#include "claims/run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>

#include "claims/denoiser_measures.h"
#include "claims/flops.h"
#include "claims/json_number.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/sha256.h"
#include "metrics/classifier_extractor.h"
#include "training/classifier_trainer.h"
#include "training/denoiser_trainer.h"
#include "training/export.h"
#include "training/language_trainer.h"

namespace tessera {
namespace {

constexpr const char *kRecord = "run.json", *kFlops = "flops.json";

/// Everything that decides a run's result.
nlohmann::json identity(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row, int64_t seed) {
  nlohmann::json out = {
      {"trainer", task.trainer}, {"config", task.config}, {"attention", row.attention}, {"seed", seed}};
  if (task.denoises()) {
    const DenoiserChecks& checks = task.checks;
    out["features"] = ClassifierExtractor(settings.features, at::kCPU).info().sha256;
    out["checks"] = {checks.prompts, checks.loss_scenes, checks.steps};
    out["sampling"] = {checks.guidance, checks.shift};
  }
  return out;
}

/// The trainer's own config of a run.
nlohmann::json config_of(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row, int64_t seed) {
  const std::filesystem::path folder = run_folder(settings, task, row, seed);
  nlohmann::json config = task.config;
  config["seed"] = seed;
  config["run"] = (folder / "training").string();
  config["output"] = (folder / "model").string();
  config["sheet_minutes"] = 0;
  config[task.denoises() ? "transformer" : "model"]["attention"] = row.attention;
  if (task.denoises()) {
    const std::string data = sha256(task.config.dump()).substr(0, 8);
    config["latents"] =
        (settings.work / path_name(task.name) / ("latents" + std::to_string(seed) + "-" + data)).string();
  }
  return config;
}

std::unique_ptr<Trainer> make_trainer(const std::string& kind, const std::filesystem::path& config) {
  if (kind == "denoiser") return std::make_unique<DenoiserTrainer>(DenoiserTrainConfig::read(config));
  if (kind == "classifier") return std::make_unique<ClassifierTrainer>(ClassifierTrainConfig::read(config));
  return std::make_unique<LanguageTrainer>(LanguageTrainConfig::read(config));
}

/// Trains to the end; the first step of all is counted. Returns the trained parameters.
int64_t train(const std::string& kind, const std::filesystem::path& folder) {
  const auto trainer = make_trainer(kind, folder / "config.json");
  if (trainer->steps_done() == 0) write_json(folder / kFlops, {{"flops", count_flops([&] { trainer->step(); })}});
  trainer->train();
  return trainer->parameters();
}

/// The least "step_ms" of the lines of a log: other work on the machine only adds to it.
double least_step_ms(const std::filesystem::path& log) {
  double least = std::numeric_limits<double>::infinity();
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (entry.is_object() && entry.contains("step_ms")) least = std::min(least, entry["step_ms"].get<double>());
  }
  if (std::isinf(least)) throw Error(log.string() + ": has no step_ms; log_every must be at most steps");
  return least;
}

void add_sizes(ClaimRun& run, const ClaimTask& task, const std::filesystem::path& folder) {
  const JsonConfig config = JsonConfig::read(folder / "config.json");
  if (task.trainer == "language") {
    const LanguageModelConfig model = LanguageModelConfig::from_json(config.object("model"));
    run.tokens = model.length;
    run.head_width = model.head_dim;
  } else if (task.trainer == "classifier") {
    const JsonConfig model = JsonConfig::read(folder / "model" / "config.json");
    const VitConfig sizes = VitConfig::from_json(model);
    run.tokens = sizes.grid * sizes.grid;
    run.head_width = sizes.channels / sizes.heads;
  } else {
    const DenoiserTrainConfig denoiser = DenoiserTrainConfig::read(folder / "config.json");
    run.tokens = tokens_of(denoiser);
    run.head_width = denoiser.transformer.at("attention_head_dim").get<int64_t>();
  }
}

std::map<std::string, double> measures_of(const ClaimSettings& settings, const ClaimTask& task,
                                          const std::filesystem::path& folder) {
  if (task.denoises())
    return measure_denoiser(DenoiserTrainConfig::read(folder / "config.json"), task.checks, settings.features);
  const nlohmann::json scores = read_json_object(folder / "model" / "scores.json");
  if (task.trainer == "language") return {{"bits_per_byte", number_of(scores.at("bits_per_byte"))}};
  return {{"accuracy", number_of(scores.at("accuracy"))}, {"loss", number_of(scores.at("loss"))}};
}

}  // namespace

nlohmann::ordered_json ClaimRun::to_json() const {
  return {{"id", id},
          {"task", task},
          {"row", row},
          {"seed", seed},
          {"parameters", parameters},
          {"tokens", tokens},
          {"head_width", head_width},
          {"flops", flops},
          {"step_ms", step_ms},
          {"measures", measures}};
}

ClaimRun ClaimRun::from_json(const JsonConfig& json) {
  ClaimRun run;
  run.id = json.text("id");
  run.task = json.text("task");
  run.row = json.text("row");
  run.seed = json.integer("seed");
  run.parameters = json.integer("parameters");
  run.tokens = json.integer("tokens");
  run.head_width = json.integer("head_width");
  run.flops = json.number("flops", 0);
  run.step_ms = json.number("step_ms", 0);
  const JsonConfig measures = json.object("measures");
  for (const auto& [name, value] : measures.json().items()) run.measures[name] = number_of(value);
  return run;
}

namespace {

std::string id_of(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row, int64_t seed) {
  return sha256(identity(settings, task, row, seed).dump()).substr(0, 16);
}

}  // namespace

std::filesystem::path run_folder(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row,
                                 int64_t seed) {
  const std::string name = std::to_string(seed) + "-" + id_of(settings, task, row, seed);
  return settings.work / path_name(task.name) / path_name(row.name) / name;
}

std::optional<ClaimRun> find_run(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row,
                                 int64_t seed) {
  const std::filesystem::path record = run_folder(settings, task, row, seed) / kRecord;
  if (is_file(record)) return ClaimRun::from_json(JsonConfig::read(record));
  const auto known = settings.recorded.find(id_of(settings, task, row, seed));
  if (known == settings.recorded.end()) return {};
  return ClaimRun::from_json(JsonConfig(known->second, "the recorded run " + known->first));
}

ClaimRun make_run(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row, int64_t seed) {
  if (const auto found = find_run(settings, task, row, seed)) return *found;
  const std::filesystem::path folder = run_folder(settings, task, row, seed);
  std::fprintf(stderr, "%s, %s, seed %lld: %s\n", task.name.c_str(), row.name.c_str(), static_cast<long long>(seed),
               folder.c_str());
  make_folder(folder);
  write_json(folder / "config.json", config_of(settings, task, row, seed));
  ClaimRun run{.id = id_of(settings, task, row, seed), .task = task.name, .row = row.name, .seed = seed};
  run.parameters = train(task.trainer, folder);
  run.flops = read_json_object(folder / kFlops).at("flops").get<double>();
  run.step_ms = least_step_ms(folder / "training" / "log.jsonl");
  add_sizes(run, task, folder);
  run.measures = measures_of(settings, task, folder);
  write_json(folder / kRecord, run.to_json());
  return run;
}

}  // namespace tessera
