#pragma once

#include <ATen/core/Tensor.h>

#include "samplers/config.h"

namespace tessera {

/// The loss that a diffusion model (DiT) is trained with, as facebookresearch/DiT has it: the mean squared error of
/// what the network predicts (noise, v or data, by its scheduler) and, for one that learns its variance, the
/// variational bound in bits a number, with the prediction held fixed so that it teaches the variance alone. Sources:
/// arXiv:2006.11239; arXiv:2102.09672, section 3.1.
class DiffusionLoss {
 public:
  /// `scheduler`: of a diffusion model, not of a flow.
  explicit DiffusionLoss(const SamplerConfig& scheduler);

  int64_t timesteps() const { return alphas_.size(0); }
  /// Latents [B, C, ...] float32 at timesteps [B] int64.
  at::Tensor noisy(const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps) const;
  /// The loss of a network's `output` for them, a float32 scalar; with 2 C channels the later half is the variance: -1
  /// for the smallest, that of the posterior, 1 for the largest, beta, between them in the logarithm. Throws c10::Error
  /// for another number of channels.
  at::Tensor operator()(const at::Tensor& output, const at::Tensor& latents, const at::Tensor& noise,
                        const at::Tensor& timesteps) const;

 private:
  at::Tensor target(const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps) const;
  at::Tensor predicted_data(const at::Tensor& prediction, const at::Tensor& noisy, const at::Tensor& timesteps) const;
  at::Tensor variance_bound(const at::Tensor& prediction, const at::Tensor& variance, const at::Tensor& latents,
                            const at::Tensor& noisy, const at::Tensor& timesteps) const;

  Prediction prediction_;
  // A number for each timestep, float64.
  at::Tensor alphas_;                                // products of 1 - beta
  at::Tensor of_data_, of_noisy_;                    // the posterior's mean
  at::Tensor smallest_variance_, largest_variance_;  // logarithms
};

}  // namespace tessera
