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

/// The one denoising loop: from unit `noise` (float32) to the data, without gradients. Before each call it checks for a
/// requested stop (throw_if_cancelled); after each it checks that prediction and sample are finite (not on the meta
/// device). Throws Error with ExitCode::kBadPixels that names the step, the timestep and which of the two is not
/// finite.
at::Tensor run_sampler(Sampler& sampler, const at::Tensor& noise, const Denoiser& denoiser, const OnStep& on_step = {});

}  // namespace tessera
