#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>

namespace tessera {

enum class GuidanceKind {
  kPlain,      ///< classifier-free guidance
  kProjected,  ///< APG: the part of the difference that only scales the prediction is damped
  kZeroStar    ///< CFG-Zero*: the unconditional branch is fitted to the conditional one; the first calls give zero
};

/// How the conditional and the unconditional prediction are combined. Defaults are those of diffusers' guiders.
struct GuidanceConfig {
  GuidanceKind kind = GuidanceKind::kPlain;
  double scale = 5.0;                    ///< at or below 1 there is no guidance and no unconditional branch
  std::optional<double> low_scale = {};  ///< takes the place of scale at timesteps below low_below
  double low_below = 0;
  double rescale = 0.0;             ///< weight of rescale_guidance, 0 to 1
  double start = 0.0;               ///< guidance acts on calls from floor(start * calls) ...
  double stop = 1.0;                ///< ... to just before floor(stop * calls); arXiv:2404.07724
  double projected_parallel = 1.0;  ///< kProjected: weight of the parallel part (eta)
  double projected_norm = 15.0;     ///< kProjected: largest norm of the difference, 0 for no limit
  double projected_momentum = 0.0;  ///< kProjected: of the difference over calls, usually negative; 0 for none
  int64_t zero_calls = 1;           ///< kZeroStar: calls at the beginning whose prediction is zero
  int64_t channels = 0;  ///< guidance changes the first of them, the rest is the conditional branch's; 0: all

  double scale_at(double timestep) const { return timestep < low_below ? low_scale.value_or(scale) : scale; }
  /// Whether any call has guidance.
  bool guides() const { return scale > 1 || low_scale.value_or(0) > 1; }
};

/// uncond + scale * (cond - uncond). Source: arXiv:2207.12598, in the form of diffusers.
at::Tensor combine_guidance(const at::Tensor& cond, const at::Tensor& uncond, double scale);

/// Moves the standard deviation of each sample of `guided` towards that of `cond`: weight * guided * std(cond) /
/// std(guided) + (1 - weight) * guided. Source: arXiv:2305.08891, section 3.4.
at::Tensor rescale_guidance(const at::Tensor& guided, const at::Tensor& cond, double weight);

/// `difference` of each sample cut to at most `largest_norm` (0: not cut), its part parallel to `cond` times
/// `parallel`. Source: APG, arXiv:2410.02416, algorithm 1.
at::Tensor project_difference(const at::Tensor& difference, const at::Tensor& cond, double largest_norm,
                              double parallel);

/// The factor of each sample by which `uncond` is nearest to `cond`: <cond, uncond> / |uncond|^2, shape [B, 1, ...].
/// Source: CFG-Zero*, arXiv:2503.18886, equation 7.
at::Tensor zero_star_factor(const at::Tensor& cond, const at::Tensor& uncond);

/// A network with its condition: x [B, C, ...] float32, timesteps [B] float32, condition [B, ...]; the prediction, like
/// x.
using ConditionalModel =
    std::function<at::Tensor(const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& condition)>;

/// What a network is asked: x [R, C, ...] float32, timesteps [R] float32, condition [R, ...].
struct NetworkInput {
  at::Tensor x, timesteps, condition;
};

/// Guidance as the two halves around a call of the network, for those who make that call themselves. Both branches of
/// a sample are rows of one input, conditional first; their predictions are combined in float32.
class Guidance {
 public:
  /// `negative` is unused, and may be undefined, where nothing is guided. Both conditions have the batch size of the
  /// sample.
  Guidance(const GuidanceConfig& config, at::Tensor positive, at::Tensor negative);

  /// What the network is asked for call `call` of `calls` at `timestep`; its x is undefined where the prediction is
  /// zero whatever the network says. Momentum starts anew at call 0.
  NetworkInput ask(const at::Tensor& x, double timestep, int64_t call, int64_t calls);
  /// The prediction, float32, from the network's output for what the last ask() gave.
  at::Tensor answer(const at::Tensor& output);

 private:
  at::Tensor combine(const at::Tensor& cond, const at::Tensor& uncond);

  GuidanceConfig config_;
  at::Tensor positive_, both_;
  at::Tensor momentum_;
  bool guided_ = false;  // the last ask(), like its scale
  double scale_ = 1;
};

}  // namespace tessera
