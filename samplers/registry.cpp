#include "samplers/registry.h"

#include "core/error.h"
#include "core/text.h"
#include "samplers/names.h"
#include "samplers/solvers.h"

namespace tessera {
namespace {

std::string family(bool flow) {
  return flow ? "flow-matching" : "diffusion";
}

void check_family(const SamplerInfo& info, bool flow) {
  if (info.models.has(flow)) return;
  throw Error("sampler " + info.name + " is for " + family(!flow) + " models, this one is a " + family(flow) +
              " model: use one of " + joined(sampler_names(flow)));
}

void check_curve(const SamplerInfo& info, const SamplerConfig& config, const SamplingPlan& plan) {
  if (config.sigma_curve == SigmaCurve::kPlain) return;
  const std::string name = sigma_curve_name(config.sigma_curve);
  if (!plan.sigmas.empty() || !plan.timesteps.empty())
    throw Error("explicit " + std::string(plan.sigmas.empty() ? "timesteps" : "sigmas") + " and the " + name +
                " scheduler exclude each other: use --scheduler plain");
  if (info.curves.has(config.flow())) return;
  std::vector<std::string> able;
  for (const auto& other : samplers())
    if (other.curves.has(config.flow())) able.push_back(other.name);
  throw Error("sampler " + info.name + " has no " + name + " noise levels for " + family(config.flow()) +
              " models: use --scheduler plain, or one of the samplers " + joined(able));
}

/// Explicit noise levels or timesteps are for flow models, timesteps for solvers that keep them as they are.
void check_explicit(const SamplerInfo& info, bool flow, const SamplingPlan& plan) {
  if (plan.sigmas.empty() && plan.timesteps.empty()) return;
  const std::string what = plan.timesteps.empty() ? "sigmas" : "timesteps";
  if (!plan.sigmas.empty() && !plan.timesteps.empty())
    throw Error("explicit sigmas and timesteps exclude each other: give one of them");
  if (!flow) throw Error("explicit " + what + " are for flow-matching models");
  if (plan.timesteps.empty() || info.timesteps) return;
  std::vector<std::string> able;
  for (const auto& other : samplers())
    if (other.timesteps) able.push_back(other.name);
  throw Error("sampler " + info.name + " takes no explicit timesteps: use one of " + joined(able) +
              ", or --sigmas with --flow-shift 1");
}

const std::vector<std::pair<std::string, SigmaCurve>>& curves() {
  static const std::vector<std::pair<std::string, SigmaCurve>> table = {
      {"plain", SigmaCurve::kPlain}, {"karras", SigmaCurve::kKarras}, {"exponential", SigmaCurve::kExponential}};
  return table;
}

const SamplerInfo* known_sampler(const std::string& name) {
  const std::string of_class = sampler_of_class(name), wanted = comparable_name(of_class.empty() ? name : of_class);
  for (const auto& info : samplers()) {
    if (wanted == comparable_name(info.name)) return &info;
    for (const auto& alias : info.aliases)
      if (wanted == comparable_name(alias)) return &info;
  }
  return nullptr;
}

}  // namespace

// clang-format off
const std::vector<SamplerInfo>& samplers() {
  constexpr ModelSupport both{true, true}, flow{true, false}, diffusion{false, true}, none{false, false};
  constexpr bool yes = true, no = false;
  static const std::vector<SamplerInfo> table = {
      {"euler", {"flow_euler", "euler_discrete"}, both, both, yes, no, 1, "",
       "the plain choice: robust at any number of steps", make_euler},
      {"unipc", {"uni_pc"}, both, diffusion, no, no, 1, "solver_order 2, solver_type bh2",
       "Wan's default: best quality for 10 to 50 steps", make_unipc},
      {"dpmpp_2m", {"dpm++", "dpm++2m", "dpmpp", "dpmsolver++", "dpm-solver", "flow_dpm-solver"}, both, diffusion, no, no, 1,
       "solver_order 2, solver_type midpoint", "close to unipc; good from 15 steps", make_dpmpp_2m},
      {"heun", {"flow_heun"}, both, both, yes, no, 2, "",
       "second order at twice the calls; smooth and reliable", make_heun},
      {"dpmpp_2m_sde", {"dpm++2m_sde", "dpm++sde"}, both, diffusion, no, yes, 1, "solver_order 2, solver_type midpoint",
       "dpmpp_2m with fresh noise: more texture, needs more steps", make_dpmpp_2m_sde},
      {"sa_solver", {"sa-solver", "sasolver"}, both, diffusion, no, yes, 1,
       "predictor_order 2, corrector_order 2, noise at timesteps 200 to 800",
       "fresh noise in the middle of the trajectory only; from 20 steps", make_sa_solver},
      {"lcm", {"flow_lcm", "lcm_flow"}, flow, flow, yes, yes, 1, "",
       "for distilled models: 3 to 8 steps at guidance 1; see --presets", make_lcm},
      {"ddim", {}, diffusion, none, no, no, 1, "eta 0, leading timesteps, clip_sample",
       "the classic for DiT; deterministic unless eta is raised", make_ddim},
      {"ddpm", {}, diffusion, none, no, yes, 1, "variance fixed_small, leading timesteps, clip_sample",
       "the sampler DiT was trained for: best from 250 steps", make_ddpm},
      {"euler_a", {"euler_ancestral"}, diffusion, diffusion, no, yes, 1, "",
       "Euler with fresh noise: varied pictures in 20 to 40 steps", make_euler_ancestral},
  };
  return table;
}
// clang-format on

const SamplerInfo& find_sampler(const std::string& name) {
  if (const SamplerInfo* known = known_sampler(name)) return *known;
  std::vector<std::string> names;
  for (const auto& info : samplers()) names.push_back(info.name);
  throw Error("no sampler is called \"" + name + "\"" + suggestion(name, names));
}

std::vector<std::string> sampler_names(bool flow) {
  std::vector<std::string> out;
  for (const auto& info : samplers())
    if (info.models.has(flow)) out.push_back(info.name);
  return out;
}

std::string sigma_curve_name(SigmaCurve curve) {
  for (const auto& [name, known] : curves())
    if (known == curve) return name;
  throw Error("unknown curve of noise levels");
}

SigmaCurve find_sigma_curve(const std::string& name) {
  const std::string wanted = comparable_name(name);
  if (wanted == "discrete" || wanted == "simple") return SigmaCurve::kPlain;
  std::vector<std::string> names;
  for (const auto& [known, curve] : curves()) {
    if (wanted == known) return curve;
    names.push_back(known);
  }
  if (const SamplerInfo* sampler = known_sampler(name))
    throw Error("\"" + name + "\" is a sampler, not a scheduler (" + joined(names) + "): use --sampler " +
                sampler->name);
  throw Error("no scheduler is called \"" + name + "\"" + suggestion(name, names));
}

void select_sampler(SamplerConfig& config, const std::string& name) {
  const SamplerInfo& info = find_sampler(name);
  check_family(info, config.flow());
  config.sampler = info.name;
}

std::unique_ptr<Sampler> make_sampler(const SamplerConfig& config, const SamplingPlan& plan) {
  const SamplerInfo& info = find_sampler(config.sampler);
  check_family(info, config.flow());
  check_explicit(info, config.flow(), plan);
  check_curve(info, config, plan);
  return info.make(config, plan);
}

}  // namespace tessera
