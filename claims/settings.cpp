#include "claims/settings.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

namespace tessera {
namespace {

JsonConfig entry_of(const JsonConfig& json, const std::string& key, size_t i) {
  return {json.json().at(key).at(i), json.where() + ": " + key + "[" + std::to_string(i) + "]"};
}

size_t length_of(const JsonConfig& json, const std::string& key) {
  if (!json.has(key) || !json.json().at(key).is_array() || json.json().at(key).empty())
    json.fail(key, "must be a list");
  return json.json().at(key).size();
}

int64_t positive(const JsonConfig& json, const std::string& key, int64_t fallback) {
  const int64_t value = json.integer(key, fallback);
  if (value < 1) json.fail(key, "must be at least 1");
  return value;
}

DenoiserChecks read_checks(const JsonConfig& json) {
  json.reject_unknown({"prompts", "batch", "loss_scenes", "steps", "guidance", "shift"});
  DenoiserChecks checks;
  checks.prompts = positive(json, "prompts", checks.prompts);
  checks.batch = positive(json, "batch", checks.batch);
  checks.loss_scenes = positive(json, "loss_scenes", checks.loss_scenes);
  checks.steps = positive(json, "steps", checks.steps);
  checks.guidance = json.number("guidance", checks.guidance);
  checks.shift = json.number("shift", checks.shift);
  if (checks.prompts < 2) json.fail("prompts", "must be at least 2, for a covariance");
  if (!(checks.guidance > 0)) json.fail("guidance", "must be positive");
  if (!(checks.shift > 0)) json.fail("shift", "must be positive");
  return checks;
}

void read_comparisons(const JsonConfig& json, ClaimTask& task) {
  if (!json.has("comparisons")) return;
  for (size_t i = 0; i < length_of(json, "comparisons"); ++i) {
    const JsonConfig entry = entry_of(json, "comparisons", i);
    entry.reject_unknown({"better", "than", "measure", "source"});
    for (const char* key : {"better", "than"}) {
      const std::string name = entry.text(key);
      const auto is_it = [&](const ClaimRow& row) { return row.name == name; };
      if (std::none_of(task.rows.begin(), task.rows.end(), is_it)) entry.fail(key, "must be the name of a row");
    }
    const std::string measure = entry.text("measure");
    const std::vector<Measure> measures = measures_of_trainer(task.trainer);
    const auto is_it = [&](const Measure& known) { return known.name == measure; };
    if (std::none_of(measures.begin(), measures.end(), is_it))
      entry.fail("measure", "is not one of a " + task.trainer + "'s");
    task.comparisons.push_back({entry.text("better"), entry.text("than"), measure, entry.text("source")});
  }
}

ClaimTask read_task(const JsonConfig& json) {
  json.reject_unknown({"name", "trainer", "config", "checks", "rows", "comparisons"});
  ClaimTask task;
  task.name = json.text("name");
  task.trainer = json.text("trainer");
  const std::set<std::string> trainers = {"denoiser", "classifier", "language"};
  if (!trainers.contains(task.trainer)) json.fail("trainer", "must be denoiser, classifier or language");
  const JsonConfig config = json.object("config");
  for (const char* key : {"run", "output", "seed", "latents", "sheet_minutes"})
    if (config.has(key)) config.fail(key, "must be absent: it is set for each run");
  if (!config.has("steps")) config.fail("steps", "is required: all rows train equally many");
  task.config = config.json();
  if (json.has("checks")) {
    if (!task.denoises()) json.fail("checks", "belongs to a denoiser; other trainers score themselves");
    task.checks = read_checks(json.object("checks"));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < length_of(json, "rows"); ++i) {
    const JsonConfig row = entry_of(json, "rows", i);
    row.reject_unknown({"name", "attention"});
    task.rows.push_back({row.text("name"), row.object("attention").json()});
    if (!names.insert(path_name(task.rows.back().name)).second) row.fail("name", "is not unique");
  }
  read_comparisons(json, task);
  return task;
}

}  // namespace

const std::vector<Measure>& measures_of_trainer(const std::string& trainer) {
  static const std::map<std::string, std::vector<Measure>> table = {
      {"denoiser",
       {{"distance", "Frechet distance", Direction::kLower},
        {"adherence", "prompts followed", Direction::kHigher},
        {"validation_loss", "validation loss", Direction::kLower}}},
      {"classifier", {{"accuracy", "accuracy", Direction::kHigher}, {"loss", "cross-entropy", Direction::kLower}}},
      {"language", {{"bits_per_byte", "bits per byte", Direction::kLower}}}};
  return table.at(trainer);
}

void ClaimSettings::take_records(const nlohmann::json& results) {
  for (const nlohmann::json& run : results.at("runs")) recorded[run.at("id").get<std::string>()] = run;
}

std::string path_name(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const auto letter = static_cast<unsigned char>(c);
    if (std::isalnum(letter))
      out += static_cast<char>(std::tolower(letter));
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

ClaimSettings ClaimSettings::read(const std::filesystem::path& path) {
  const JsonConfig json = JsonConfig::read(path);
  json.reject_unknown({"work", "seeds", "features", "tasks"});
  ClaimSettings settings;
  settings.work = json.text("work");
  settings.seeds = json.integers("seeds");
  if (settings.seeds.empty() || *std::min_element(settings.seeds.begin(), settings.seeds.end()) < 0)
    json.fail("seeds", "must be a list of numbers from 0");
  if (json.has("features")) settings.features = json.text("features");
  std::set<std::string> names;
  for (size_t i = 0; i < length_of(json, "tasks"); ++i) {
    const JsonConfig entry = entry_of(json, "tasks", i);
    settings.tasks.push_back(read_task(entry));
    if (!names.insert(path_name(settings.tasks.back().name)).second) entry.fail("name", "is not unique");
    if (settings.tasks.back().denoises() && settings.features.empty())
      json.fail("features", "is required for the task " + settings.tasks.back().name);
  }
  return settings;
}

}  // namespace tessera
