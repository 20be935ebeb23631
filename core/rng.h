#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace tessera {

/// Standard normal noise of `shape` in float32 on the CPU, from a generator seeded with `seed` alone: equal to
/// torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)), whatever batch, rank or device uses it.
at::Tensor seeded_noise(at::IntArrayRef shape, uint64_t seed);

/// One row of seeded_noise per seed: shape [seeds.size(), ...shape]. Row i depends on seeds[i] alone.
at::Tensor seeded_noise_batch(at::IntArrayRef shape, const std::vector<uint64_t>& seeds);

}  // namespace tessera
