#include "samplers/schedule.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

std::vector<double> to_doubles(const at::Tensor& values) {
  const at::Tensor wide = values.to(at::kDouble).contiguous();
  return {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()};
}

at::Tensor to_floats(const std::vector<double>& values) {
  return at::tensor(values, at::TensorOptions().dtype(at::kDouble)).to(at::kFloat);
}

/// Betas whose cumulative product follows a squared cosine, at most 0.999. Source: arXiv:2102.09672, equation 17.
std::vector<double> cosine_betas(int64_t steps) {
  const auto remaining = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * M_PI / 2), 2); };
  std::vector<double> betas;
  for (int64_t i = 0; i < steps; ++i) {
    const double n = static_cast<double>(steps), k = static_cast<double>(i);
    betas.push_back(std::min(1 - remaining((k + 1) / n) / remaining(k / n), 0.999));
  }
  return betas;
}

at::Tensor training_betas(const SamplerConfig& config) {
  const auto dtype = config.exact_tables ? at::kDouble : at::kFloat;
  if (!config.trained_betas.empty())
    return at::tensor(config.trained_betas, at::TensorOptions().dtype(at::kDouble)).to(dtype);
  switch (config.beta_curve) {
    case BetaCurve::kLinear:
      return at::linspace(config.beta_start, config.beta_end, config.train_steps, dtype);
    case BetaCurve::kScaledLinear:
      return at::linspace(std::sqrt(config.beta_start), std::sqrt(config.beta_end), config.train_steps, dtype).square();
    case BetaCurve::kCosine:
      return at::tensor(cosine_betas(config.train_steps), at::TensorOptions().dtype(at::kDouble)).to(dtype);
  }
  TORCH_CHECK(false, "training_betas: unknown curve");
}

/// Algorithm 1 of arXiv:2305.08891: moves and scales sqrt(alpha-bar) so that it ends at 0 and begins where it did.
at::Tensor end_at_zero_snr(const at::Tensor& betas) {
  const at::Tensor root = (1 - betas).cumprod(0).sqrt();
  const at::Tensor first = root[0], last = root[-1];
  const at::Tensor bar = ((root - last) * (first / (first - last))).square();
  const int64_t count = bar.size(0);
  return 1 - at::cat({bar.narrow(0, 0, 1), bar.narrow(0, 1, count - 1) / bar.narrow(0, 0, count - 1)});
}

/// OpenAI's respacing of `train` timesteps into one section of `count`, rising.
std::vector<double> evenly_respaced(int64_t train, int64_t count) {
  const double stride = count > 1 ? static_cast<double>(train - 1) / static_cast<double>(count - 1) : 1.0;
  std::vector<double> out;
  double place = 0;
  for (int64_t i = 0; i < count; ++i, place += stride) out.push_back(std::nearbyint(place));
  return out;
}

/// The same in each of equal parts of the timesteps, of which the first ones take what does not divide.
std::vector<double> respaced_sections(int64_t train, const std::vector<int64_t>& sections) {
  const auto parts = static_cast<int64_t>(sections.size());
  std::vector<double> out;
  int64_t start = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t size = train / parts + (part < train % parts ? 1 : 0), count = sections[static_cast<size_t>(part)];
    if (count > size)
      throw Error("part " + std::to_string(part + 1) + " of the timestep respacing has " + std::to_string(size) +
                  " timesteps and cannot be visited in " + std::to_string(count) + " steps: ask for fewer");
    for (const double place : evenly_respaced(size, count)) out.push_back(static_cast<double>(start) + place);
    start += size;
  }
  return out;
}

/// 0, s, 2 s, ... below `train` with the smallest whole stride s that gives `count` of them.
std::vector<double> strided(int64_t train, int64_t count) {
  for (int64_t stride = 1; stride <= train; ++stride) {
    if ((train + stride - 1) / stride != count) continue;
    std::vector<double> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<double>(i * stride));
    return out;
  }
  throw Error("no whole stride divides " + std::to_string(train) + " timesteps into " + counted(count, "step") +
              ": ask for another number of steps");
}

/// shift_flow_times in one precision.
template <typename T>
std::vector<double> shifted(const SamplerConfig& config, const SamplingPlan& plan, const std::vector<double>& times) {
  const double dynamic = config.dynamic_shift ? (config.linear_time_shift ? *plan.mu : std::exp(*plan.mu)) : 0.0;
  std::vector<T> out;
  for (const double time : times) {
    const T t = static_cast<T>(time);
    if (config.dynamic_shift)
      out.push_back(static_cast<T>(dynamic) / (static_cast<T>(dynamic) + (1 / t - 1)));
    else
      out.push_back(static_cast<T>(config.flow_shift) * t / (1 + static_cast<T>(config.flow_shift - 1) * t));
  }
  if (config.shift_terminal && *config.shift_terminal > 0) {
    const T factor = (1 - out.back()) / static_cast<T>(1 - *config.shift_terminal);
    for (T& t : out) t = 1 - (1 - t) / factor;
  }
  return {out.begin(), out.end()};
}

}  // namespace

std::vector<double> evenly_spaced(double first, double last, int64_t count) {
  TORCH_CHECK(count >= 1, "evenly_spaced: count must be positive, got ", count);
  std::vector<double> out{first};
  const double step = count > 1 ? (last - first) / static_cast<double>(count - 1) : 0.0;
  for (int64_t i = 1; i < count; ++i) out.push_back(static_cast<double>(i) * step + first);
  if (count > 1) out.back() = last;
  return out;
}

double to_float32(double value) {
  return static_cast<double>(static_cast<float>(value));
}

std::vector<double> alphas_cumprod(const SamplerConfig& config, bool avoid_zero) {
  at::Tensor betas = training_betas(config);
  if (config.zero_terminal_snr) betas = end_at_zero_snr(betas);
  std::vector<double> out = to_doubles((1 - betas).cumprod(0));
  if (config.zero_terminal_snr && avoid_zero) out.back() = std::ldexp(1.0, -24);
  return out;
}

std::vector<double> training_sigmas(const SamplerConfig& config) {
  const at::Tensor alphas = to_floats(alphas_cumprod(config, /*avoid_zero=*/true));
  return to_doubles(((1 - alphas) / alphas).sqrt());
}

std::vector<double> spaced_timesteps(const SamplerConfig& config, int64_t steps, bool skip_last) {
  const int64_t train = config.train_steps;
  TORCH_CHECK(steps >= 1, "spaced_timesteps: steps must be positive, got ", steps);
  if (steps + (skip_last ? 1 : 0) > train)
    throw Error(std::to_string(steps) + " steps are more than the " + std::to_string(train) +
                " timesteps this model was trained with: ask for fewer steps");
  const int64_t grid = steps + (skip_last ? 1 : 0);
  std::vector<double> out;
  switch (config.spacing) {
    case Spacing::kLinspace:
      out = evenly_spaced(0, static_cast<double>(train - 1), grid);
      std::reverse(out.begin(), out.end());
      break;
    case Spacing::kLeading:
      for (int64_t i = grid - 1; i >= 0; --i)
        out.push_back(static_cast<double>(i * (train / grid) + config.steps_offset));
      break;
    case Spacing::kTrailing:
      for (int64_t i = 0; i < steps; ++i) {
        const double stride = static_cast<double>(train) / static_cast<double>(steps);
        out.push_back(std::nearbyint(static_cast<double>(train) - static_cast<double>(i) * stride) - 1);
      }
      break;
    case Spacing::kRespaced:
    case Spacing::kStride:
      out = config.spacing == Spacing::kStride ? strided(train, grid)
            : config.sections.empty()          ? evenly_respaced(train, grid)
                                               : respaced_sections(train, config.sections);
      TORCH_CHECK(static_cast<int64_t>(out.size()) == grid, "spaced_timesteps: the sections make ", out.size(),
                  " steps, want ", grid);
      std::reverse(out.begin(), out.end());
      break;
  }
  out.resize(static_cast<size_t>(steps));
  if (out.front() > static_cast<double>(train - 1))
    throw Error("steps_offset " + std::to_string(config.steps_offset) + " moves the first of " +
                counted(steps, "step") + " beyond the last timestep, " + std::to_string(train - 1) +
                ": ask for fewer steps");
  return out;
}

Respacing parse_respacing(const std::string& text) {
  constexpr std::string_view kStrided = "ddim";
  constexpr int64_t kMost = 1'000'000;
  const bool strided = text.starts_with(kStrided);
  Respacing respacing;
  if (strided) respacing.spacing = Spacing::kStride;
  const char *at = text.data() + (strided ? kStrided.size() : 0), *end = text.data() + text.size();
  while (true) {
    while (at != end && *at == ' ') ++at;
    int64_t count = 0;
    const auto [rest, failure] = std::from_chars(at, end, count);
    at = rest;
    while (at != end && *at == ' ') ++at;
    const bool more = at != end && *at == ',' && !strided;
    if (failure != std::errc() || count < 1 || count > kMost || (at != end && !more))
      throw Error(
          "a timestep respacing is a number of steps (250), ddim and a number (ddim50), or the steps of equal " +
          std::string("parts (10,15,20), all at least 1; got \"") + text.substr(0, 60) + "\"");
    respacing.sections.push_back(count);
    respacing.steps += count;
    if (!more) break;
    ++at;
  }
  if (respacing.sections.size() == 1) respacing.sections.clear();
  return respacing;
}

double interpolate(const std::vector<double>& table, double index) {
  const double last = static_cast<double>(table.size() - 1);
  if (index <= 0) return table.front();
  if (index >= last) return table.back();
  const size_t low = static_cast<size_t>(index);
  return (table[low + 1] - table[low]) * (index - static_cast<double>(low)) + table[low];
}

std::vector<double> curved_sigmas(const SamplerConfig& config, double largest, double smallest, int64_t count) {
  constexpr double kRho = 7.0;
  const double high = config.sigma_max.value_or(largest), low = config.sigma_min.value_or(smallest);
  std::vector<double> out;
  if (config.sigma_curve == SigmaCurve::kKarras) {
    const double from = std::pow(high, 1 / kRho), to = std::pow(low, 1 / kRho);
    for (const double ramp : evenly_spaced(0, 1, count)) out.push_back(std::pow(from + ramp * (to - from), kRho));
  } else {
    for (const double log_sigma : evenly_spaced(std::log(high), std::log(low), count))
      out.push_back(std::exp(log_sigma));
  }
  return out;
}

TimestepOfSigma::TimestepOfSigma(const std::vector<double>& training_sigmas)
    : log_sigmas_(to_doubles(to_floats(training_sigmas).log())) {}

double TimestepOfSigma::operator()(double sigma) const {
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  const auto above = std::upper_bound(log_sigmas_.begin(), log_sigmas_.end(), log_sigma);
  const auto below = std::clamp<std::ptrdiff_t>(above - log_sigmas_.begin() - 1, 0,
                                                static_cast<std::ptrdiff_t>(log_sigmas_.size()) - 2);
  const double low = log_sigmas_[static_cast<size_t>(below)], high = log_sigmas_[static_cast<size_t>(below) + 1];
  const double weight = std::clamp((low - log_sigma) / to_float32(low - high), 0.0, 1.0);
  return (1 - weight) * static_cast<double>(below) + weight * static_cast<double>(below + 1);
}

std::vector<double> shift_flow_times(const SamplerConfig& config, const SamplingPlan& plan,
                                     const std::vector<double>& times, bool single) {
  if (config.dynamic_shift && !plan.mu)
    throw Error("this model's time shift depends on the picture's size (use_dynamic_shifting) and no mu is given");
  if (config.dynamic_shift && config.linear_time_shift && !(*plan.mu > 0))
    throw Error("a linear time shift needs a positive mu, got " + std::to_string(*plan.mu));
  return single ? shifted<float>(config, plan, times) : shifted<double>(config, plan, times);
}

double dynamic_shift_mu(const SamplerConfig& config, int64_t tokens) {
  const double slope =
      (config.max_shift - config.base_shift) / static_cast<double>(config.max_tokens - config.base_tokens);
  return config.base_shift + slope * static_cast<double>(tokens - config.base_tokens);
}

}  // namespace tessera
