#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "samplers/sampler.h"

namespace tessera {

/// The network's prediction for what the sampler shows it (float32, the shape of the sample) at `timestep`, call `call`
/// of `calls`. The prediction has the sample's shape (twice its channels with a learned variance), any floating dtype.
using Denoiser = std::function<at::Tensor(const at::Tensor& x, double timestep, int64_t call, int64_t calls)>;

/// Told after every call: how many are done, of how many, and the sample as it now is.
using OnStep = std::function<void(int64_t done, int64_t calls, const at::Tensor& sample)>;

/// One sample on its way from unit `noise` (float32) to the data, a call of the network at a time.
class Trajectory {
 public:
  /// `sampler` must outlive it.
  Trajectory(Sampler& sampler, const at::Tensor& noise);

  bool finished() const { return call_ == calls(); }
  int64_t call() const { return call_; }  ///< done so far
  int64_t calls() const { return sampler_.calls(); }
  /// What the network is asked next: the sample as it sees it, and its timestep.
  at::Tensor input() const { return sampler_.scale_input(sample_, call_); }
  double timestep() const { return sampler_.schedule().timesteps[static_cast<size_t>(call_)]; }
  /// Takes the prediction for input(). Throws Error with ExitCode::kBadPixels that names the step, the timestep and
  /// whether prediction or sample is not finite (not on the meta device).
  void advance(const at::Tensor& prediction);
  const at::Tensor& sample() const { return sample_; }

 private:
  Sampler& sampler_;
  at::Tensor sample_;
  int64_t call_ = 0;
};

/// The one denoising loop: from unit `noise` (float32) to the data, without gradients. Before each call it checks for a
/// requested stop (throw_if_canceled). Throws what Trajectory::advance throws.
at::Tensor run_sampler(Sampler& sampler, const at::Tensor& noise, const Denoiser& denoiser, const OnStep& on_step = {});

}  // namespace tessera
