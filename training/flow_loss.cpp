#include "training/flow_loss.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tessera {

double FlowTimes::quantile(double part) const {
  const double normal = at::special_ndtri(at::scalar_tensor(part, at::kDouble)).item<double>();
  const double t = 1 / (1 + std::exp(-(mean + deviation * normal)));
  return shift * t / (1 + (shift - 1) * t);
}

at::Tensor flow_loss(const WanTransformer& model, const FlowBatch& batch, at::ScalarType dtype) {
  const at::Tensor wanted = batch.noise - batch.latents;
  const at::Tensor noisy = batch.latents + batch.times.view({-1, 1, 1, 1, 1}) * wanted;
  const at::Tensor velocity = model(noisy.to(dtype), batch.times * 1000, batch.context.to(dtype));
  return (velocity.to(at::kFloat) - wanted).square().mean();
}

}  // namespace tessera
