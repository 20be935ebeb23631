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

/// Numbers that fall from at most `most` to above 0; a 0 at the end is left out.
std::vector<double> falling_numbers(const std::string& text, double most, const std::string& wanted) {
  std::vector<double> numbers = numbers_in(text, ',', wanted);
  if (numbers.size() > 1 && numbers.back() == 0) numbers.pop_back();
  double above = std::nextafter(most, 2 * most);
  for (const double number : numbers) {
    if (!(number > 0 && number < above)) throw Error(wanted + ", got \"" + text.substr(0, 60) + "\"");
    above = number;
  }
  return numbers;
}

/// Makes the job's steps the number of explicit ones, if there are any.
void take_count(Job& job, const std::vector<double>& levels, const std::string& option) {
  if (levels.empty()) return;
  const auto count = static_cast<int64_t>(levels.size());
  if (job.steps && *job.steps != count)
    throw Error(option + " gives " + counted(count, "step") + ", --steps " + std::to_string(*job.steps) +
                ": omit --steps");
  job.steps = count;
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
  return falling_numbers(*job.sigmas, 1,
                         "--sigmas wants decreasing numbers, at most 1 and above 0, such as 1,0.75,0.5,0.25");
}

std::vector<double> timesteps_in(const std::string& text, double most, const std::string& name) {
  return falling_numbers(text, most,
                         name + " wants decreasing numbers, at most " + std::to_string(static_cast<int64_t>(most)) +
                             " and above 0, such as 1000,757,522");
}

std::vector<double> timesteps_of(const Job& job, int64_t train_steps) {
  if (!job.timesteps) return {};
  return timesteps_in(*job.timesteps, static_cast<double>(train_steps), "--timesteps");
}

void take_levels(Job& job, int64_t train_steps) {
  if (job.sigmas && job.timesteps) throw Error("--sigmas and --timesteps exclude each other: give one of them");
  take_count(job, sigmas_of(job), "--sigmas");
  take_count(job, timesteps_of(job, train_steps), "--timesteps");
  if (!job.timesteps) return;
  if (job.flow_shift.value_or(1.0) != 1.0)
    throw Error("--timesteps are what the network is told, after any shift: omit --flow-shift");
  job.flow_shift = 1.0;
}

void take_respacing(Job& job) {
  if (!job.timestep_respacing) return;
  const int64_t steps = parse_respacing(*job.timestep_respacing).steps;
  if (job.steps && *job.steps != steps)
    throw Error("--timestep-respacing " + *job.timestep_respacing + " makes " + std::to_string(steps) +
                " steps, --steps says " + std::to_string(*job.steps) + ": omit --steps");
  job.steps = steps;
}

GuidanceConfig guidance_of(const Job& job, double low_below) {
  if (projected(job) && zero_star(job))
    throw Error("APG and CFG-Zero* exclude each other: use --apg-... or --cfg-zero");
  GuidanceConfig config{.scale = *job.cfg_scale,
                        .low_scale = job.cfg_scale_2,
                        .low_below = low_below,
                        .rescale = job.guidance_rescale.value_or(0.0)};
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
