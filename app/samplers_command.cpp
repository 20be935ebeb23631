#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "core/text.h"
#include "pipelines/few_steps.h"
#include "samplers/presets.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

struct SamplersOptions {
  std::string name;
  bool presets = false, json = false;
};

std::vector<std::string> names_of(const ModelSupport& support) {
  std::vector<std::string> out;
  if (support.flow) out.push_back("flow");
  if (support.diffusion) out.push_back("diffusion");
  return out;
}

nlohmann::ordered_json to_json(const SamplerInfo& info) {
  return {{"name", info.name},
          {"aliases", info.aliases},
          {"models", names_of(info.models)},
          {"karras_and_exponential", names_of(info.curves)},
          {"timesteps", info.timesteps},
          {"stochastic", info.stochastic},
          {"calls_per_step", info.calls_per_step},
          {"defaults", info.defaults},
          {"advice", info.advice}};
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string to_row(const SamplerInfo& info) {
  return "  " + padded(info.name, 14) + padded(joined(names_of(info.models)), 17) + info.advice + "\n";
}

std::string to_text(const SamplerInfo& info) {
  const auto line = [](const std::string& label, const std::string& text) {
    return "  " + padded(label, 14) + (text.empty() ? "none" : text) + "\n";
  };
  return info.name + ": " + info.advice + "\n" + line("models", joined(names_of(info.models))) +
         line("schedulers",
              "plain" + std::string(info.curves.flow || info.curves.diffusion
                                        ? "; karras and exponential with " + joined(names_of(info.curves)) + " models"
                                        : "")) +
         line("calls/step", std::to_string(info.calls_per_step)) +
         line("timesteps", info.timesteps ? "may be explicit" : "") +
         line("fresh noise", info.stochastic ? "at every step" : "no") + line("defaults", info.defaults) +
         line("aliases", joined(info.aliases));
}

nlohmann::ordered_json to_json(const SamplingPreset& preset) {
  nlohmann::ordered_json out = {
      {"name", preset.name}, {"aliases", preset.aliases}, {"sampler", preset.sampler}, {"steps", preset_steps(preset)}};
  if (!preset.sigmas.empty()) out["sigmas"] = preset.sigmas;
  if (!preset.timesteps.empty()) out["timesteps"] = preset.timesteps;
  if (preset.flow_shift) out["flow_shift"] = *preset.flow_shift;
  out["cfg_scale"] = preset.cfg_scale;
  out["advice"] = preset.advice;
  out["source"] = preset.source;
  return out;
}

void print_presets(const SamplersOptions& options) {
  const SamplingPreset* one = options.name.empty() ? nullptr : &find_preset(options.name);
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const auto& preset : sampling_presets()) {
    if (one && &preset != one) continue;
    all.push_back(to_json(preset));
    if (options.json) continue;
    std::cout << preset.name << ": " << preset.advice << "\n  " << schedule_options(preset_settings(preset.name))
              << "\n  source: " << preset.source << "\n";
    if (!preset.aliases.empty()) std::cout << "  aliases: " << joined(preset.aliases) << "\n";
  }
  if (options.json)
    std::cout << all.dump(2) << "\n";
  else if (!one)
    std::cout << "\ntessera generate --preset NAME samples a distilled model so; see docs/few-steps.md.\n";
}

void print(const SamplersOptions& options) {
  if (options.presets) return print_presets(options);
  const SamplerInfo* one = options.name.empty() ? nullptr : &find_sampler(options.name);
  if (options.json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const auto& info : samplers())
      if (!one || &info == one) all.push_back(to_json(info));
    std::cout << all.dump(2) << "\n";
    return;
  }
  if (one) {
    std::cout << to_text(*one);
    return;
  }
  std::cout << "  " << padded("NAME", 14) << padded("MODELS", 17) << "ADVICE\n";
  for (const auto& info : samplers()) std::cout << to_row(info);
  std::cout << "\nA model's scheduler_config.json sets its default (see tessera info); --sampler, --scheduler,\n"
               "--sigmas and --flow-shift of tessera generate override it. tessera samplers NAME shows details;\n"
               "tessera samplers --presets lists the settings of distilled models.\n";
}

}  // namespace

void add_samplers_command(CLI::App& root) {
  auto options = std::make_shared<SamplersOptions>();
  CLI::App* command =
      root.add_subcommand("samplers", "List the samplers, the models they are for, and when to use them");
  command->add_option("NAME", options->name, "Show only this sampler (or preset), with its defaults and aliases")
      ->group("What to show");
  command
      ->add_flag("--presets", options->presets,
                 "List the presets of distilled models instead: tessera generate "
                 "--preset NAME")
      ->group("What to show");
  command->add_flag("--json", options->json, "Print JSON")->group("Output");
  put_help_last(*command, "Output");
  command->callback([options] { print(*options); });
}

}  // namespace tessera
