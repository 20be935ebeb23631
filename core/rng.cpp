#include "core/rng.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace tessera {

at::Tensor seeded_noise(at::IntArrayRef shape, uint64_t seed) {
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat));
}

at::Tensor seeded_noise_batch(at::IntArrayRef shape, const std::vector<uint64_t>& seeds) {
  std::vector<at::Tensor> rows;
  for (const uint64_t seed : seeds) rows.push_back(seeded_noise(shape, seed));
  return at::stack(rows);
}

}  // namespace tessera
