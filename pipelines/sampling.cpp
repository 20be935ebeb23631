#include "pipelines/sampling.h"

#include <charconv>
#include <cmath>

#include "core/error.h"
#include "pipelines/latents.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

/// The numbers of `text` between separators. Throws Error with `wanted` when there is anything else.
std::vector<double> numbers_in(const std::string& text, char separator, const std::string& wanted) {
  std::vector<double> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    const size_t first = std::min(text.find_first_not_of(' ', begin), end);
    double number = 0;
    const auto [rest, failure] = std::from_chars(text.data() + first, text.data() + end, number);
    if (failure != std::errc() || rest != text.data() + end || !std::isfinite(number))
      throw Error(wanted + ", got \"" + text.substr(0, 60) + "\"");
    out.push_back(number);
    begin = end + 1;
  }
  return out;
}

std::vector<double> sigmas_of(const Job& job) {
  if (!job.sigmas) return {};
  const std::string wanted = "--sigmas wants falling numbers from at most 1 to above 0, such as 1,0.75,0.5,0.25";
  std::vector<double> sigmas = numbers_in(*job.sigmas, ',', wanted);
  if (sigmas.size() > 1 && sigmas.back() == 0) sigmas.pop_back();
  double above = std::nextafter(1.0, 2.0);
  for (const double sigma : sigmas) {
    if (!(sigma > 0 && sigma < above)) throw Error(wanted + ", got \"" + job.sigmas->substr(0, 60) + "\"");
    above = sigma;
  }
  return sigmas;
}

bool projected(const Job& job) {
  return job.apg_eta || job.apg_norm || job.apg_momentum;
}

bool zero_star(const Job& job) {
  return job.cfg_zero || job.cfg_zero_steps;
}

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

void take_sigmas(Job& job) {
  if (!job.sigmas) return;
  const auto count = static_cast<int64_t>(sigmas_of(job).size());
  if (job.steps && *job.steps != count)
    throw Error("--sigmas gives " + std::to_string(count) + " steps, --steps " + std::to_string(*job.steps) +
                ": leave --steps out");
  job.steps = count;
}

void check_sampling(Job& job, const WanModel& model, std::vector<std::string>& notes) {
  const SamplerConfig config = sampler_config(job, model);
  job.sampler = config.sampler;
  job.scheduler = sigma_curve_name(config.sigma_curve);
  sampler_of(job, model);
  const GuidanceConfig guidance = guidance_of(job);
  if (guidance.scale > 1) return;
  const bool asked = guidance.kind != GuidanceKind::kPlain || guidance.rescale > 0 || job.guidance_interval;
  if (asked)
    notes.emplace_back("rescale, interval, APG and CFG-Zero* have no effect without guidance (--cfg-scale 1 or less)");
}

std::unique_ptr<Sampler> sampler_of(const Job& job, const WanModel& model) {
  const SamplerConfig config = sampler_config(job, model);
  SamplingPlan plan{.steps = *job.steps, .sigmas = sigmas_of(job)};
  if (config.dynamic_shift) {
    int64_t tokens = 1;
    const std::vector<int64_t> latents = latent_shape(job, model);  // [1, C, t, h, w]
    for (size_t axis = 0; axis < 3; ++axis) tokens *= latents[axis + 2] / model.transformer.patch_size[axis];
    plan.mu = dynamic_shift_mu(config, tokens);
  }
  return make_sampler(config, plan);
}

GuidanceConfig guidance_of(const Job& job) {
  if (projected(job) && zero_star(job))
    throw Error("APG and CFG-Zero* exclude each other: use --apg-... or --cfg-zero");
  GuidanceConfig config{.scale = *job.cfg_scale, .rescale = job.guidance_rescale.value_or(0.0)};
  if (projected(job)) config.kind = GuidanceKind::kProjected;
  if (zero_star(job)) config.kind = GuidanceKind::kZeroStar;
  config.projected_parallel = job.apg_eta.value_or(config.projected_parallel);
  config.projected_norm = job.apg_norm.value_or(config.projected_norm);
  config.projected_momentum = job.apg_momentum.value_or(config.projected_momentum);
  config.zero_calls = job.cfg_zero_steps.value_or(config.zero_calls);
  if (job.guidance_interval) {
    const std::string wanted = "--guidance-interval wants START:STOP with 0 <= START < STOP <= 1, such as 0:0.8";
    const std::vector<double> ends = numbers_in(*job.guidance_interval, ':', wanted);
    if (ends.size() != 2 || !(ends[0] >= 0 && ends[0] < ends[1] && ends[1] <= 1))
      throw Error(wanted + ", got \"" + job.guidance_interval->substr(0, 60) + "\"");
    config.start = ends[0];
    config.stop = ends[1];
  }
  return config;
}

}  // namespace tessera
