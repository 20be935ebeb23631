#include "samplers/registry.h"

#include <cctype>

#include "core/error.h"
#include "samplers/solvers.h"

namespace tessera {
namespace {

/// Letters, digits and '+' in lower case: what counts of a name.
std::string essence(const std::string& name) {
  std::string out;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '+')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

void check_family(const SamplerInfo& info, bool flow) {
  if (flow ? info.flow : info.diffusion) return;
  throw Error("sampler " + info.name + " is for " + (flow ? "diffusion" : "flow-matching") + " models, this one is a " +
              (flow ? "flow-matching" : "diffusion") + " model: use one of " + listed(sampler_names(flow)));
}

}  // namespace

// clang-format off
const std::vector<SamplerInfo>& samplers() {
  constexpr bool yes = true, no = false;
  static const std::vector<SamplerInfo> table = {
      {"euler", {"flow_euler", "euler_discrete"}, yes, yes, no, 1,
       "the plain choice: robust at any number of steps", make_euler},
      {"unipc", {"uni_pc"}, yes, yes, no, 1,
       "Wan's default: best quality for 10 to 50 steps", make_unipc},
      {"dpmpp_2m", {"dpm++", "dpm++2m", "dpmpp", "dpmsolver++", "dpm-solver", "flow_dpm-solver"}, yes, yes, no, 1,
       "close to unipc; good from 15 steps", make_dpmpp_2m},
      {"heun", {"flow_heun"}, yes, yes, no, 2,
       "second order at twice the calls; smooth and reliable", make_heun},
      {"dpmpp_2m_sde", {"dpm++2m_sde", "dpm++sde"}, yes, yes, yes, 1,
       "dpmpp_2m with fresh noise: more texture, needs more steps", make_dpmpp_2m_sde},
      {"ddim", {}, no, yes, no, 1,
       "the classic for DiT; deterministic unless eta is raised", make_ddim},
      {"ddpm", {}, no, yes, yes, 1,
       "the sampler DiT was trained for: best from 250 steps", make_ddpm},
      {"euler_a", {"euler_ancestral"}, no, yes, yes, 1,
       "Euler with fresh noise: varied pictures in 20 to 40 steps", make_euler_ancestral},
  };
  return table;
}
// clang-format on

const SamplerInfo& find_sampler(const std::string& name) {
  const std::string of_class = sampler_of_class(name), wanted = essence(of_class.empty() ? name : of_class);
  std::vector<std::string> known;
  for (const auto& info : samplers()) {
    if (wanted == essence(info.name)) return info;
    for (const auto& alias : info.aliases)
      if (wanted == essence(alias)) return info;
    known.push_back(info.name);
  }
  throw Error("no sampler is called \"" + name + "\"" + suggestion(name, known));
}

std::vector<std::string> sampler_names(bool flow) {
  std::vector<std::string> out;
  for (const auto& info : samplers())
    if (flow ? info.flow : info.diffusion) out.push_back(info.name);
  return out;
}

void select_sampler(SamplerConfig& config, const std::string& name) {
  const SamplerInfo& info = find_sampler(name);
  check_family(info, config.flow());
  config.sampler = info.name;
}

std::unique_ptr<Sampler> make_sampler(const SamplerConfig& config, const SamplingPlan& plan) {
  const SamplerInfo& info = find_sampler(config.sampler);
  check_family(info, config.flow());
  if (!plan.sigmas.empty() && !config.flow()) throw Error("explicit sigmas are for flow-matching models");
  return info.make(config, plan);
}

}  // namespace tessera
