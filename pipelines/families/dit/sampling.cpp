#include "pipelines/families/dit/sampling.h"

#include "core/error.h"
#include "pipelines/sampling.h"
#include "samplers/registry.h"
#include "samplers/schedule.h"

namespace tessera {
namespace {

SamplerConfig sampler_config(const Job& job, const DitModel& model) {
  SamplerConfig config = model.scheduler;
  select_sampler(config, *job.sampler);
  config.sigma_curve = find_sigma_curve(*job.scheduler);
  if (job.eta) config.eta = *job.eta;
  if (job.timestep_respacing) {
    const Respacing respacing = parse_respacing(*job.timestep_respacing);
    config.spacing = respacing.spacing;
    config.sections = respacing.sections;
  }
  return config;
}

bool learned(const SamplerConfig& config) {
  return config.variance == Variance::kLearned || config.variance == Variance::kLearnedRange;
}

void refuse(bool given, const char* option, const char* why) {
  if (given) throw Error(std::string("--") + option + " " + why);
}

}  // namespace

Job model_defaults(const DitModel& model) {
  Job defaults;
  if (model.folder.index.has("generation_defaults")) {
    const JsonConfig own = model.folder.index.object("generation_defaults");
    apply_json(defaults, own.json(), own.where());
    for (const auto& [key, value] : own.json().items())
      if (!is_model_default(find_job_option(key))) own.fail(key, "cannot be set by the model");
  }
  take_respacing(defaults);
  Job pipeline;
  pipeline.width = pipeline.height = model.pixels();
  pipeline.frames = 1;
  pipeline.steps = 50;
  pipeline.cfg_scale = 4.0;
  pipeline.cfg_channels = 0;
  pipeline.sampler = model.scheduler.sampler;
  pipeline.scheduler = sigma_curve_name(model.scheduler.sigma_curve);
  fill_unset(defaults, pipeline);
  return defaults;
}

void check_sampling(Job& job, const DitModel& model, std::vector<std::string>& notes) {
  const char* flow = "is for flow-matching models; DiT is a diffusion model";
  refuse(job.flow_shift.has_value(), "flow-shift", flow);
  refuse(job.sigmas.has_value(), "sigmas", flow);
  refuse(job.timesteps.has_value(), "timesteps", flow);
  refuse(job.preset.has_value(), "preset", flow);
  refuse(job.cfg_zero || job.cfg_zero_steps, "cfg-zero", flow);
  const SamplerConfig config = sampler_config(job, model);
  job.sampler = config.sampler;
  job.scheduler = sigma_curve_name(config.sigma_curve);
  if (job.eta && config.sampler != "ddim")
    throw Error("--eta is for the ddim sampler, not for " + config.sampler + ": use --sampler ddim, or leave it out");
  if (job.timestep_respacing && config.sampler != "ddim" && config.sampler != "ddpm")
    throw Error("--timestep-respacing is for the samplers ddim and ddpm, not for " + config.sampler +
                ": use --steps, or one of these");
  if (config.sampler == "ddim" && !job.eta) job.eta = config.eta;
  if (config.sampler == "ddpm" && learned(config) && !model.transformer.learns_variance())
    throw Error(model.folder.component("scheduler").config().where() +
                ": variance_type wants a learned variance, but " +
                "the transformer predicts the noise alone; use --sampler ddim");
  if (*job.cfg_channels > model.transformer.in_channels)
    throw Error("--cfg-channels " + std::to_string(*job.cfg_channels) + ": the model's latents have " +
                std::to_string(model.transformer.in_channels) + " channels; 0 guides all of them");
  sampler_of(job, model);
  const GuidanceConfig guidance = guidance_of(job, model);
  if (guidance.scale > 1 && !model.transformer.null_class)
    throw Error(model.folder.path.string() + " was trained without an empty class, so it cannot be guided: use " +
                "--cfg-scale 1");
  const bool asked = guidance.kind != GuidanceKind::kPlain || guidance.rescale > 0 || job.guidance_interval;
  if (guidance.scale <= 1 && asked)
    notes.emplace_back("rescale, interval and APG have no effect without guidance (--cfg-scale 1 or less)");
}

std::unique_ptr<Sampler> sampler_of(const Job& job, const DitModel& model) {
  return make_sampler(sampler_config(job, model), {.steps = *job.steps});
}

bool takes_variance(const Job& job, const DitModel& model) {
  const SamplerConfig config = sampler_config(job, model);
  return config.sampler == "ddpm" && learned(config);
}

GuidanceConfig guidance_of(const Job& job, const DitModel& model) {
  GuidanceConfig config = guidance_of(job);
  config.channels = *job.cfg_channels > 0 ? *job.cfg_channels : model.transformer.in_channels;
  return config;
}

}  // namespace tessera
