#pragma once

#include "samplers/loop.h"

namespace tessera::test {

/// The network's prediction for x at `timestep`, call `call` of `calls`.
using Denoiser = std::function<at::Tensor(const at::Tensor& x, double timestep, int64_t call, int64_t calls)>;
using OnStep = std::function<void(int64_t done, int64_t calls, const at::Tensor& sample)>;

/// The denoising loop for one trajectory of an unconditional network that is told the timestep in double precision.
inline at::Tensor run_sampler(Sampler& sampler, const at::Tensor& noise, const Denoiser& denoiser,
                              const OnStep& on_step = {}) {
  int64_t call = 0;
  const auto network = [&](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    const double timestep = sampler.schedule().timesteps[static_cast<size_t>(call)];
    return denoiser(x, timestep, call++, sampler.calls());
  };
  SampleCallbacks callbacks;
  if (on_step)
    callbacks.on_step = [&](size_t, int64_t done, const at::Tensor& sample) { on_step(done, sampler.calls(), sample); };
  SampleTask task{
      .sampler = {&sampler, [](Sampler*) {}}, .noise = noise, .guidance = {.scale = 1}, .positive = {}, .negative = {}};
  return sample_one(std::move(task), network, callbacks);
}

}  // namespace tessera::test
