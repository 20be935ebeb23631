#include "pipelines/sampling.h"

#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/text.h"
#include "samplers/schedule.h"

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

bool projected(const Job& job) {
  return job.apg_eta || job.apg_norm || job.apg_momentum;
}

bool zero_star(const Job& job) {
  return job.cfg_zero || job.cfg_zero_steps;
}

}  // namespace

std::vector<double> sigmas_of(const Job& job) {
  if (!job.sigmas) return {};
  const std::string wanted = "--sigmas wants decreasing numbers, at most 1 and above 0, such as 1,0.75,0.5,0.25";
  std::vector<double> sigmas = numbers_in(*job.sigmas, ',', wanted);
  if (sigmas.size() > 1 && sigmas.back() == 0) sigmas.pop_back();
  double above = std::nextafter(1.0, 2.0);
  for (const double sigma : sigmas) {
    if (!(sigma > 0 && sigma < above)) throw Error(wanted + ", got \"" + job.sigmas->substr(0, 60) + "\"");
    above = sigma;
  }
  return sigmas;
}

void take_sigmas(Job& job) {
  if (!job.sigmas) return;
  const auto count = static_cast<int64_t>(sigmas_of(job).size());
  if (job.steps && *job.steps != count)
    throw Error("--sigmas gives " + counted(count, "step") + ", --steps " + std::to_string(*job.steps) +
                ": omit --steps");
  job.steps = count;
}

void take_respacing(Job& job) {
  if (!job.timestep_respacing) return;
  const int64_t steps = parse_respacing(*job.timestep_respacing).steps;
  if (job.steps && *job.steps != steps)
    throw Error("--timestep-respacing " + *job.timestep_respacing + " makes " + std::to_string(steps) +
                " steps, --steps says " + std::to_string(*job.steps) + ": omit --steps");
  job.steps = steps;
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
