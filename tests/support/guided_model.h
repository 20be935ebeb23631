#pragma once

#include <ATen/ATen.h>

#include "samplers/guidance.h"
#include "samplers/step_cache.h"

namespace tessera::test {

/// A network behind a step cache, as the denoising loop asks it.
inline ConditionalModel cached(StepCache& cache, ConditionalModel model) {
  return [&cache, model = std::move(model)](const at::Tensor& x, const at::Tensor& timesteps,
                                            const at::Tensor& condition) {
    if (const at::Tensor kept = cache.recall(x); kept.defined()) return kept;
    const at::Tensor output = model(x, timesteps, condition);
    cache.keep(x, output);
    return output;
  };
}

/// Both halves of Guidance around one call of a network.
class GuidedModel {
 public:
  GuidedModel(const GuidanceConfig& config, ConditionalModel model, at::Tensor positive, at::Tensor negative)
      : guidance_(config, std::move(positive), std::move(negative)), model_(std::move(model)) {}

  at::Tensor operator()(const at::Tensor& x, double timestep, int64_t call, int64_t calls) {
    const NetworkInput input = guidance_.ask(x, timestep, call, calls);
    if (!input.x.defined()) return at::zeros_like(x);
    return guidance_.answer(model_(input.x, input.timesteps, input.condition));
  }

 private:
  Guidance guidance_;
  ConditionalModel model_;
};

}  // namespace tessera::test
