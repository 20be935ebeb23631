#include "pipelines/recipe.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <utility>

#include "core/error.h"
#include "core/version.h"

namespace tessera {
namespace {

std::string size_text(int64_t width, int64_t height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

/// Shift (of flow models), schedule and guidance where they differ from plain ones: ", Flow shift: 3.0, Guidance
/// rescale: 0.7".
std::string sampling_text(const Job& job) {
  std::string text;
  if (!job.class_label) text = ", Flow shift: " + (job.flow_shift ? nlohmann::json(*job.flow_shift).dump() : "dynamic");
  const nlohmann::ordered_json recipe = recipe_json(job);
  for (std::string key : {"preset", "scheduler", "sigmas", "timesteps", "step_cache", "cfg_scale_2", "guidance_rescale",
                          "guidance_interval", "apg_eta", "apg_norm", "apg_momentum", "cfg_zero", "cfg_zero_steps",
                          "eta", "cfg_channels", "timestep_respacing"}) {
    if (!recipe.contains(key) || recipe[key] == "plain" || recipe[key] == false) continue;
    const bool bare = key == "scheduler" || key == "preset" || !recipe[key].is_string();
    const std::string value = bare && recipe[key].is_string() ? recipe[key].get<std::string>() : recipe[key].dump();
    std::replace(key.begin(), key.end(), '_', ' ');
    key[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(key[0])));
    text += ", " + (key == "Scheduler" ? "Schedule type" : key) + ": " + value;
  }
  return text;
}

}  // namespace

std::string output_name(const Job& job, int64_t i) {
  if (job.count == 1) return job.output;
  const std::filesystem::path path = job.output;
  const std::string name = path.stem().string() + "_" + std::to_string(i) + path.extension().string();
  return (path.parent_path() / name).string();
}

void settle_seed(Job& job) {
  if (job.seed.is_random()) job.seed = std::random_device()();
  if (!job.seed.reaches(job.count))
    throw Error("--seed " + job.seed.text() + " and --count " + std::to_string(job.count) +
                " go beyond the largest seed, " + std::to_string(Seed::kLargest));
}

nlohmann::ordered_json output_recipe(const Job& job) {
  nlohmann::ordered_json recipe = {{"program", "tessera"}, {"version", program_version()}, {"job", recipe_json(job)}};
  if (!job.model_fingerprint.empty()) recipe["model_fingerprint"] = job.model_fingerprint;
  return recipe;
}

std::string recipe_text(const Job& job) {
  const auto number = [](const auto& value) { return nlohmann::json(value).dump(); };
  const std::string model = job.model.empty() ? "bundled" : std::filesystem::path(job.model).filename().string();
  std::string text = job.class_label ? "class " + *job.class_label : job.prompt;
  for (const LoraUse& use : job.loras)
    text += " <lora:" + std::filesystem::path(use.path).stem().string() + ":" + number(use.strength) + ">";
  const std::string clip =
      job.class_label ? "" : ", Frames: " + number(*job.frames) + ", FPS: " + frame_rate_text(*job.fps);
  std::string pictures;
  for (const auto& [name, picture] : {std::pair("Image", &job.image), std::pair("Last image", &job.last_image)})
    if (!picture->empty())
      pictures += std::string(", ") + name + ": " + std::filesystem::path(picture->path).filename().string();
  if (!job.negative_prompt.empty()) text += "\nNegative prompt: " + job.negative_prompt;
  return text + "\nSteps: " + number(*job.steps) + ", Sampler: " + *job.sampler +
         ", CFG scale: " + number(*job.cfg_scale) + ", Seed: " + number(job.seed) +
         ", Size: " + size_text(*job.width, *job.height) + ", Model: " + model + clip + pictures + sampling_text(job) +
         ", Version: tessera " + program_version();
}

}  // namespace tessera
