#include "samplers/config.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/size_limits.h"

namespace tessera {
namespace {

/// What a diffusers class means and where its defaults differ from SamplerConfig's.
struct SchedulerClass {
  const char* name;
  const char* sampler;
  bool flow;
  Spacing spacing;
  bool clip_sample;
};

constexpr std::array<SchedulerClass, 11> kClasses = {{
    {"FlowMatchEulerDiscreteScheduler", "euler", true, Spacing::kLinspace, false},
    {"FlowMatchHeunDiscreteScheduler", "heun", true, Spacing::kLinspace, false},
    {"FlowMatchLCMScheduler", "lcm", true, Spacing::kLinspace, false},
    {"UniPCMultistepScheduler", "unipc", false, Spacing::kLinspace, false},
    {"DPMSolverMultistepScheduler", "dpmpp_2m", false, Spacing::kLinspace, false},
    {"SASolverScheduler", "sa_solver", false, Spacing::kLinspace, false},
    {"EulerDiscreteScheduler", "euler", false, Spacing::kLinspace, false},
    {"EulerAncestralDiscreteScheduler", "euler_a", false, Spacing::kLinspace, false},
    {"HeunDiscreteScheduler", "heun", false, Spacing::kLinspace, false},
    {"DDIMScheduler", "ddim", false, Spacing::kLeading, true},
    {"DDPMScheduler", "ddpm", false, Spacing::kLeading, true},
}};

const SchedulerClass& class_of(const JsonConfig& json) {
  const std::string name = json.text("_class_name");
  std::vector<std::string> known;
  for (const auto& entry : kClasses) {
    if (name == entry.name) return entry;
    known.emplace_back(entry.name);
  }
  json.fail("_class_name", "is not a scheduler known here" + suggestion(name, known));
}

/// The value of a text key that must be one of a few words.
template <typename T>
T one_of(const JsonConfig& json, const std::string& key, T fallback,
         const std::vector<std::pair<std::string, T>>& words) {
  if (!json.has(key)) return fallback;
  const std::string word = json.text(key);
  std::vector<std::string> known;
  for (const auto& [name, value] : words) {
    if (word == name) return value;
    known.push_back(name);
  }
  json.fail(key, "is not supported" + suggestion(word, known));
}

double bounded(const JsonConfig& json, const std::string& key, double fallback, double low, double high) {
  const double value = json.number(key, fallback);
  if (!(value >= low && value <= high))
    json.fail(key, "must lie between " + nlohmann::json(low).dump() + " and " + nlohmann::json(high).dump());
  return value;
}

int64_t at_least(const JsonConfig& json, const std::string& key, int64_t fallback, int64_t low) {
  const int64_t value = json.integer(key, fallback);
  if (value < low) json.fail(key, "must be at least " + std::to_string(low));
  return value;
}

std::optional<double> optional_number(const JsonConfig& json, const std::string& key) {
  return json.has(key) ? std::optional<double>(json.number(key, 0.0)) : std::nullopt;
}

void refuse(const JsonConfig& json, const std::vector<std::string>& keys) {
  for (const auto& key : keys)
    if (json.boolean(key, false)) json.fail(key, "is not supported, set it to false");
}

void read_noise(const JsonConfig& json, SamplerConfig& config) {
  config.beta_curve = one_of<BetaCurve>(json, "beta_schedule", BetaCurve::kLinear,
                                        {{"linear", BetaCurve::kLinear},
                                         {"scaled_linear", BetaCurve::kScaledLinear},
                                         {"squaredcos_cap_v2", BetaCurve::kCosine}});
  config.beta_start = bounded(json, "beta_start", config.beta_start, 0.0, 1.0);
  config.beta_end = bounded(json, "beta_end", config.beta_end, 0.0, 1.0);
  if (json.has("trained_betas")) config.trained_betas = json.numbers("trained_betas");
  if (!config.trained_betas.empty() && static_cast<int64_t>(config.trained_betas.size()) != config.train_steps)
    json.fail("trained_betas", "must have num_train_timesteps = " + std::to_string(config.train_steps) + " entries");
  config.zero_terminal_snr = json.boolean("rescale_betas_zero_snr", false);
  config.spacing = one_of<Spacing>(
      json, "timestep_spacing", config.spacing,
      {{"linspace", Spacing::kLinspace}, {"leading", Spacing::kLeading}, {"trailing", Spacing::kTrailing}});
  // A key of our own for checkpoints that OpenAI's sampling code belongs to.
  if (json.boolean("respaced", false)) {
    config.spacing = Spacing::kRespaced;
    config.exact_tables = true;
  }
  config.steps_offset = at_least(json, "steps_offset", 0, 0);
}

void read_flow(const JsonConfig& json, SamplerConfig& config, const std::string& shift_key) {
  constexpr double kLargest = 1e4;
  config.flow_shift = json.number(shift_key, 1.0);
  if (!(config.flow_shift > 0 && config.flow_shift <= kLargest)) json.fail(shift_key, "must be positive");
  config.dynamic_shift = json.boolean("use_dynamic_shifting", false);
  config.linear_time_shift = one_of<bool>(json, "time_shift_type", false, {{"exponential", false}, {"linear", true}});
  config.base_shift = bounded(json, "base_shift", config.base_shift, -kLargest, kLargest);
  config.max_shift = bounded(json, "max_shift", config.max_shift, -kLargest, kLargest);
  config.base_tokens = at_least(json, "base_image_seq_len", config.base_tokens, 1);
  config.max_tokens = at_least(json, "max_image_seq_len", config.max_tokens, config.base_tokens + 1);
  if (json.has("shift_terminal")) config.shift_terminal = bounded(json, "shift_terminal", 0.0, 0.0, 0.999);
}

void read_sigmas(const JsonConfig& json, SamplerConfig& config) {
  const bool karras = json.boolean("use_karras_sigmas", false);
  const bool exponential = json.boolean("use_exponential_sigmas", false);
  if (karras && exponential) json.fail("use_exponential_sigmas", "cannot be combined with use_karras_sigmas");
  config.sigma_curve = karras ? SigmaCurve::kKarras : exponential ? SigmaCurve::kExponential : SigmaCurve::kPlain;
  config.sigma_min = optional_number(json, "sigma_min");
  config.sigma_max = optional_number(json, "sigma_max");
  if (config.sigma_min && !(*config.sigma_min > 0)) json.fail("sigma_min", "must be positive");
  if (config.sigma_max && !(*config.sigma_max > config.sigma_min.value_or(0.0)))
    json.fail("sigma_max", "must be positive and exceed sigma_min");
  config.final_sigma_min = one_of<bool>(json, "final_sigmas_type", false, {{"zero", false}, {"sigma_min", true}});
}

void read_solver(const JsonConfig& json, SamplerConfig& config) {
  config.solver_order = json.integer("solver_order", config.solver_order);
  const int64_t highest = config.sampler == "unipc" ? 3 : 2;
  if (config.solver_order < 1 || config.solver_order > highest)
    json.fail("solver_order", "must lie between 1 and " + std::to_string(highest));
  const std::string type = one_of<std::string>(
      json, "solver_type", "",
      {{"midpoint", "midpoint"}, {"heun", "heun"}, {"logrho", "logrho"}, {"bh1", "bh1"}, {"bh2", "bh2"}});
  config.heun_type = type == "heun";
  config.bh1 = type == "bh1";
  config.lower_order_final = json.boolean("lower_order_final", true);
  config.euler_at_final = json.boolean("euler_at_final", false);
  config.disable_corrector = json.integers("disable_corrector", {});
  config.lambda_min_clipped = optional_number(json, "lambda_min_clipped");
  for (const auto& [key, order] :
       {std::pair{"predictor_order", &config.predictor_order}, {"corrector_order", &config.corrector_order}}) {
    *order = json.integer(key, *order);
    if (*order < 1 || *order > 3) json.fail(key, "must lie between 1 and 3");
  }
  config.clip_sample = json.boolean("clip_sample", config.clip_sample);
  config.clip_range = bounded(json, "clip_sample_range", 1.0, 0.0, 1e6);
  config.set_alpha_to_one = json.boolean("set_alpha_to_one", true);
  config.variance = one_of<Variance>(json, "variance_type", Variance::kFixedSmall,
                                     {{"fixed_small", Variance::kFixedSmall},
                                      {"fixed_small_log", Variance::kFixedSmall},
                                      {"fixed_large", Variance::kFixedLarge},
                                      {"learned", Variance::kLearned},
                                      {"learned_range", Variance::kLearnedRange}});
}

}  // namespace

std::string sampler_of_class(const std::string& class_name) {
  for (const auto& entry : kClasses)
    if (class_name == entry.name) return entry.sampler;
  return "";
}

SamplerConfig read_scheduler_config(const JsonConfig& json) {
  const SchedulerClass& known = class_of(json);
  SamplerConfig config;
  config.sampler = known.sampler;
  config.spacing = known.spacing;
  config.clip_sample = known.clip_sample;
  if (config.sampler == "dpmpp_2m" &&
      one_of<bool>(json, "algorithm_type", false, {{"dpmsolver++", false}, {"sde-dpmsolver++", true}}))
    config.sampler = "dpmpp_2m_sde";
  if (config.sampler == "sa_solver") one_of<bool>(json, "algorithm_type", true, {{"data_prediction", true}});
  if (known.name == std::string("HeunDiscreteScheduler")) config.beta_start = 0.00085, config.beta_end = 0.012;
  refuse(json, {"thresholding", "use_beta_sigmas", "use_lu_lambdas", "invert_sigmas", "stochastic_sampling"});
  if (!json.boolean("predict_x0", true)) json.fail("predict_x0", "is not supported, set it to true");
  if (json.has("scale_factors"))
    json.fail("scale_factors", "(latents that grow from step to step) is not supported, set it to null");
  if (json.has("solver_p")) json.fail("solver_p", "is not supported, set it to null");
  one_of<bool>(json, "interpolation_type", true, {{"linear", true}});
  one_of<bool>(json, "timestep_type", true, {{"discrete", true}});

  config.train_steps = at_least(json, "num_train_timesteps", 1000, 2);
  if (config.train_steps > limits::kTrainSteps)
    json.fail("num_train_timesteps", "must be at most " + std::to_string(limits::kTrainSteps));
  config.prediction = one_of<Prediction>(json, "prediction_type", known.flow ? Prediction::kFlow : Prediction::kEpsilon,
                                         {{"epsilon", Prediction::kEpsilon},
                                          {"sample", Prediction::kSample},
                                          {"v_prediction", Prediction::kV},
                                          {"flow_prediction", Prediction::kFlow}});
  const bool flow_sigmas = json.boolean("use_flow_sigmas", known.flow);
  if (flow_sigmas != config.flow())
    json.fail("prediction_type", flow_sigmas ? "must be \"flow_prediction\" with flow sigmas"
                                             : "\"flow_prediction\" needs use_flow_sigmas");
  read_noise(json, config);
  read_flow(json, config, known.flow ? "shift" : "flow_shift");
  read_sigmas(json, config);
  read_solver(json, config);
  if (config.sampler == "sa_solver") config.final_sigma_min = true;  // the class has no other end
  return config;
}

}  // namespace tessera
