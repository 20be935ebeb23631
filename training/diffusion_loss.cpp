#include "training/diffusion_loss.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "core/transfer.h"
#include "samplers/schedule.h"

namespace tessera {
namespace {

constexpr double kLeastProbability = 1e-12;

/// A table's numbers for timesteps [B] as float32 [B, 1, ...], to be multiplied with `like`.
at::Tensor rows_of(const at::Tensor& table, const at::Tensor& timesteps, const at::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[0] = -1;
  return uploaded(table, timesteps.device()).index({timesteps}).to(at::kFloat).view(shape);
}

/// The normal distribution function, in the approximation of the original.
at::Tensor normal_below(const at::Tensor& x) {
  return 0.5 * (1 + (std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x.pow(3))).tanh());
}

/// -log of the probability of the 1/127.5 wide step around each number, the outermost steps being open.
at::Tensor surprise(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& log_variance) {
  constexpr double kHalfStep = 1.0 / 255, kEdge = 0.999;
  const at::Tensor scale = (-0.5 * log_variance).exp(), centered = x - mean;
  const at::Tensor upper = normal_below(scale * (centered + kHalfStep));
  const at::Tensor lower = normal_below(scale * (centered - kHalfStep));
  const at::Tensor inside = at::where(x > kEdge, 1 - lower, upper - lower);
  return -at::where(x < -kEdge, upper, inside).clamp_min(kLeastProbability).log();
}

}  // namespace

DiffusionLoss::DiffusionLoss(const SamplerConfig& scheduler) : prediction_(scheduler.prediction) {
  TORCH_CHECK(!scheduler.flow(), "DiffusionLoss: a flow has no diffusion loss");
  SamplerConfig exact = scheduler;
  exact.exact_tables = true;  // beta is found as a small difference
  alphas_ = at::tensor(alphas_cumprod(exact, /*avoid_zero=*/false), at::kDouble);
  const int64_t last = alphas_.size(0) - 1;
  const at::Tensor before = at::cat({at::ones({1}, at::kDouble), alphas_.narrow(0, 0, last)});
  const at::Tensor step = alphas_ / before, beta = 1 - step;
  of_data_ = beta * before.sqrt() / (1 - alphas_);
  of_noisy_ = (1 - before) * step.sqrt() / (1 - alphas_);
  const at::Tensor posterior = beta * (1 - before) / (1 - alphas_);
  // The posterior variance is 0 at the beginning.
  smallest_variance_ = at::cat({posterior.narrow(0, 1, 1), posterior.narrow(0, 1, last)}).log();
  largest_variance_ = beta.log();
}

at::Tensor DiffusionLoss::noisy(const at::Tensor& latents, const at::Tensor& noise, const at::Tensor& timesteps) const {
  return rows_of(alphas_.sqrt(), timesteps, latents) * latents +
         rows_of((1 - alphas_).sqrt(), timesteps, latents) * noise;
}

at::Tensor DiffusionLoss::target(const at::Tensor& latents, const at::Tensor& noise,
                                 const at::Tensor& timesteps) const {
  if (prediction_ == Prediction::kEpsilon) return noise;
  if (prediction_ == Prediction::kSample) return latents;
  return rows_of(alphas_.sqrt(), timesteps, latents) * noise -
         rows_of((1 - alphas_).sqrt(), timesteps, latents) * latents;
}

at::Tensor DiffusionLoss::predicted_data(const at::Tensor& prediction, const at::Tensor& noisy,
                                         const at::Tensor& timesteps) const {
  if (prediction_ == Prediction::kSample) return prediction;
  const at::Tensor signal = rows_of(alphas_.sqrt(), timesteps, noisy);
  const at::Tensor spread = rows_of((1 - alphas_).sqrt(), timesteps, noisy);
  if (prediction_ == Prediction::kV) return signal * noisy - spread * prediction;
  return (noisy - spread * prediction) / signal;
}

at::Tensor DiffusionLoss::variance_bound(const at::Tensor& prediction, const at::Tensor& variance,
                                         const at::Tensor& latents, const at::Tensor& noisy,
                                         const at::Tensor& timesteps) const {
  const auto rows = [&](const at::Tensor& table) { return rows_of(table, timesteps, latents); };
  const auto posterior_mean = [&](const at::Tensor& data) { return rows(of_data_) * data + rows(of_noisy_) * noisy; };
  const at::Tensor smallest = rows(smallest_variance_), part = (variance + 1) / 2;
  const at::Tensor log_variance = part * rows(largest_variance_) + (1 - part) * smallest;
  const at::Tensor mean = posterior_mean(predicted_data(prediction, noisy, timesteps));
  const at::Tensor divergence = 0.5 * (log_variance - smallest - 1 + (smallest - log_variance).exp() +
                                       (posterior_mean(latents) - mean).square() * (-log_variance).exp());
  const at::Tensor first = rows(at::arange(this->timesteps(), at::kDouble)) == 0;
  return at::where(first, surprise(latents, mean, log_variance), divergence).mean() / std::numbers::ln2;
}

at::Tensor DiffusionLoss::operator()(const at::Tensor& output, const at::Tensor& latents, const at::Tensor& noise,
                                     const at::Tensor& timesteps) const {
  const int64_t channels = latents.size(1);
  TORCH_CHECK(output.size(1) == channels || output.size(1) == 2 * channels, "DiffusionLoss: want ", channels, " or ",
              2 * channels, " channels, got ", output.sizes());
  const at::Tensor whole = output.to(at::kFloat), prediction = whole.narrow(1, 0, channels);
  const at::Tensor error = (prediction - target(latents, noise, timesteps)).square().mean();
  if (whole.size(1) == channels) return error;
  return error + variance_bound(prediction.detach(), whole.narrow(1, channels, channels), latents,
                                noisy(latents, noise, timesteps), timesteps);
}

}  // namespace tessera
