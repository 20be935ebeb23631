#include "pipelines/few_steps.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "core/utf8.h"
#include "pipelines/sampling.h"
#include "samplers/presets.h"

namespace tessera {
namespace {

using Metadata = std::map<std::string, std::string>;

std::string number_text(double number) {
  return nlohmann::json(number).dump();
}

std::optional<std::string> list_text(const std::vector<double>& numbers) {
  if (numbers.empty()) return {};
  return joined(numbers, ",", number_text);
}

bool has_steps(const Job& job) {
  return job.steps || job.sigmas || job.timesteps;
}

/// A value of metadata as the option is given on the command line: JSON lists become numbers joined by commas.
std::string option_text(const std::string& value) {
  const std::string text = trimmed(value);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_string()) return json.get<std::string>();
  if (!json.is_array()) return text;
  return joined(json, ",", [](const auto& item) { return item.dump(); });
}

const JobOption* schedule_option(std::string key) {
  static const std::vector<std::string> names = {"preset",    "sampler",    "steps",    "sigmas",
                                                 "timesteps", "flow-shift", "cfg-scale"};
  if (key == "infer_steps") key = "steps";
  std::replace(key.begin(), key.end(), '_', '-');
  for (const std::string& name : names) {
    const JobOption& option = find_job_option(name);
    const bool alias = std::find(option.aliases.begin(), option.aliases.end(), key) != option.aliases.end();
    if (key == name || alias) return &option;
  }
  return nullptr;
}

bool is_false(const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  return found != metadata.end() && in_lower_case(trimmed(found->second)) == "false";
}

/// The list that distillation codes train with: timesteps of the schedule before its shift, or as the network has them.
void take_step_list(const Metadata& metadata, const std::string& where, Job& job) {
  const std::string key = "denoising_step_list";
  const auto found = metadata.find(key);
  if (found == metadata.end() || has_steps(job)) return;
  constexpr double kTrainSteps = 1000;
  std::vector<double> steps;
  try {
    steps = timesteps_in(option_text(found->second), kTrainSteps, key);
  } catch (const Error& error) {
    throw Error(where + ": " + error.what());
  }
  if (!job.flow_shift || is_false(metadata, "warp_denoising_step")) {
    job.timesteps = list_text(steps);
    job.flow_shift.reset();
    return;
  }
  for (double& step : steps) step /= kTrainSteps;
  job.sigmas = list_text(steps);
}

/// Another number of steps than the preset's: its evenly spaced levels can be more or fewer, its timesteps cannot.
void take_other_steps(Job& job, const SamplingPreset& preset, std::vector<std::string>& notes) {
  const std::string own = counted(preset_steps(preset), "step"), asked = std::to_string(*job.steps);
  if (!preset.timesteps.empty())
    throw Error("preset " + preset.name + " has the timesteps of its " + own + ": omit --steps " + asked +
                ", or give --timesteps");
  notes.push_back("preset " + preset.name + " is for " + own + ": --steps " + asked + " takes their place");
  if (preset.sigmas.empty()) return;
  std::vector<double> sigmas;
  for (int64_t i = 0; i < *job.steps; ++i)
    sigmas.push_back(static_cast<double>(*job.steps - i) / static_cast<double>(*job.steps));
  job.sigmas = list_text(sigmas);
}

}  // namespace

Job preset_settings(const std::string& name) {
  const SamplingPreset& preset = find_preset(name);
  Job job;
  job.preset = preset.name;
  job.sampler = preset.sampler;
  job.steps = preset.steps;
  job.sigmas = list_text(preset.sigmas);
  job.timesteps = list_text(preset.timesteps);
  job.flow_shift = preset.flow_shift;
  job.cfg_scale = preset.cfg_scale;
  return job;
}

Job schedule_of_metadata(const Metadata& metadata, const std::string& where) {
  Job job;
  for (const auto& [key, value] : metadata) {
    const JobOption* option = schedule_option(key);
    if (!option) continue;
    try {
      set_job_option(job, *option, option_text(value));
    } catch (const Error& error) {
      throw Error(where + ": \"" + key + "\": " + error.what());
    }
  }
  // The number of a list is what counts: codes keep infer_steps beside it.
  if (job.sigmas || job.timesteps || metadata.contains("denoising_step_list")) job.steps.reset();
  if (job.sigmas && job.timesteps) throw Error(where + ": has both sigmas and timesteps; keep one of them");
  take_step_list(metadata, where, job);
  if (is_false(metadata, "enable_cfg")) job.cfg_scale = 1.0;
  if (job.preset) {
    std::vector<std::string> unheard;
    take_preset(job, unheard);
  }
  return job;
}

std::string schedule_options(const Job& job) {
  std::string text;
  const nlohmann::ordered_json settings = recipe_json(job);
  for (const char* key : {"sampler", "steps", "sigmas", "timesteps", "flow_shift", "cfg_scale"}) {
    if (!settings.contains(key)) continue;
    const auto& value = settings[key];
    text += (text.empty() ? "--" : " --") + find_job_option(key).name + " " +
            (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

void fill_schedule(Job& job, const Job& settings) {
  Job open = settings;
  if (has_steps(job)) {
    if (open.timesteps) open.flow_shift.reset();  // that of no shift, which they need
    open.steps.reset();
    open.sigmas.reset();
    open.timesteps.reset();
  }
  if (job.timesteps) open.flow_shift.reset();
  fill_unset(job, open);
}

void take_preset(Job& job, std::vector<std::string>& notes) {
  if (!job.preset) return;
  const SamplingPreset& preset = find_preset(*job.preset);
  Job settings = preset_settings(preset.name);
  job.preset = preset.name;
  const bool other_levels =
      (job.sigmas && job.sigmas != settings.sigmas) || (job.timesteps && job.timesteps != settings.timesteps);
  if (other_levels)
    notes.push_back("the levels given take the place of those of preset " + preset.name);
  else if (job.steps && *job.steps != preset_steps(preset))
    take_other_steps(job, preset, notes);
  else
    job.steps = settings.steps;  // explicit levels set their number
  fill_schedule(job, settings);
}

void forget_schedule(Job& job) {
  job.preset.reset();
  job.sampler.reset();
  job.steps.reset();
  job.sigmas.reset();
  job.timesteps.reset();
  job.flow_shift.reset();
  job.cfg_scale.reset();
}

}  // namespace tessera
