#include "samplers/loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>

#include "core/cancel.h"
#include "core/error.h"

namespace tessera {
namespace {

void check_finite(const at::Tensor& values, const char* what, int64_t call, const Sampler& sampler) {
  if (values.is_meta()) return;
  const at::Tensor finite = values.isfinite();
  if (finite.all().item<bool>()) return;
  const int64_t bad = values.numel() - finite.sum().item<int64_t>();
  throw Error(std::string(what) + " is not finite after step " + std::to_string(call + 1) + " of " +
                  std::to_string(sampler.calls()) + " (timestep " +
                  std::to_string(sampler.schedule().timesteps[static_cast<size_t>(call)]) +
                  "): " + std::to_string(bad) + " of " + std::to_string(values.numel()) +
                  " values are NaN or infinite; try --dtype fp32, a lower --cfg-scale or another --sampler",
              ExitCode::kBadPixels);
}

}  // namespace

Trajectory::Trajectory(Sampler& sampler, const at::Tensor& noise)
    : sampler_(sampler), sample_(noise.to(at::kFloat) * sampler.schedule().init_noise_sigma) {}

void Trajectory::advance(const at::Tensor& prediction) {
  check_finite(prediction, "the model's prediction", call_, sampler_);
  sample_ = sampler_.step(prediction, sample_, call_);
  check_finite(sample_, "the sample", call_, sampler_);
  ++call_;
}

at::Tensor run_sampler(Sampler& sampler, const at::Tensor& noise, const Denoiser& denoiser, const OnStep& on_step) {
  const c10::NoGradGuard no_gradients;
  Trajectory trajectory(sampler, noise);
  while (!trajectory.finished()) {
    throw_if_canceled();
    trajectory.advance(denoiser(trajectory.input(), trajectory.timestep(), trajectory.call(), trajectory.calls()));
    if (on_step) on_step(trajectory.call(), trajectory.calls(), trajectory.sample());
  }
  return trajectory.sample();
}

}  // namespace tessera
