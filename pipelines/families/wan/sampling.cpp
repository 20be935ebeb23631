#include "pipelines/families/wan/sampling.h"

#include "core/error.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

SamplerConfig sampler_config(const Job& job, const WanModel& model) {
  SamplerConfig config = model.scheduler;
  select_sampler(config, *job.sampler);
  config.sigma_curve = find_sigma_curve(*job.scheduler);
  if (job.flow_shift) {
    config.flow_shift = *job.flow_shift;
    config.dynamic_shift = false;
  }
  return config;
}

}  // namespace

std::vector<int64_t> latent_shape(const Job& job, const WanModel& model) {
  const int64_t stride = model.vae.spatial_stride();
  return {1, model.vae.z_dim, model.latent_frames_in(*job.frames), *job.height / stride, *job.width / stride};
}

void check_sampling(Job& job, const WanModel& model, std::vector<std::string>& notes) {
  const SamplerConfig config = sampler_config(job, model);
  job.sampler = config.sampler;
  job.scheduler = sigma_curve_name(config.sigma_curve);
  sampler_of(job, model);
  const GuidanceConfig guidance = guidance_of(job, model);
  if (guidance.guides()) return;
  const bool asked = guidance.kind != GuidanceKind::kPlain || guidance.rescale > 0 || job.guidance_interval;
  if (asked)
    notes.emplace_back("rescale, interval, APG and CFG-Zero* have no effect without guidance (--cfg-scale 1 or less)");
}

GuidanceConfig guidance_of(const Job& job, const WanModel& model) {
  return guidance_of(job, model.boundary_ratio * static_cast<double>(model.scheduler.train_steps));
}

int64_t high_noise_calls(const Job& job, const WanModel& model) {
  const auto sampler = sampler_of(job, model);
  int64_t calls = 0;
  for (int64_t call = 0; call < sampler->calls(); ++call)
    calls += model.expert_at(sampler->schedule().timesteps[static_cast<size_t>(call)]) == WanExpert::kHighNoise;
  return calls;
}

std::unique_ptr<Sampler> sampler_of(const Job& job, const WanModel& model) {
  const SamplerConfig config = sampler_config(job, model);
  SamplingPlan plan{.steps = *job.steps, .sigmas = sigmas_of(job), .timesteps = timesteps_of(job, config.train_steps)};
  if (config.dynamic_shift) {
    int64_t tokens = 1;
    const std::vector<int64_t> latents = latent_shape(job, model);  // [1, C, t, h, w]
    for (size_t axis = 0; axis < 3; ++axis) tokens *= latents[axis + 2] / model.transformer.patch_size[axis];
    plan.mu = dynamic_shift_mu(config, tokens);
  }
  return make_sampler(config, plan);
}

}  // namespace tessera
