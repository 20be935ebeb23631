#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace tessera {

/// Initial noise from a safetensors file, `FILE` or `FILE:TENSOR`: float32 [N, C, ...] (one row per output; the first
/// axis may be absent) of `channels` channels and `axes` axes. Without TENSOR the file's only tensor, or the one named
/// "latents". Throws Error naming the file and its tensors when there is no such tensor, or its shape, dtype or numbers
/// cannot be latents.
at::Tensor read_latents(const std::string& argument, int64_t channels, int64_t axes);

/// Standard normal float32 noise on the CPU, one draw after another from a generator seeded with `seed` alone:
/// torch.Generator("cpu").manual_seed(seed) handed to torch.randn again and again.
std::function<at::Tensor(at::IntArrayRef shape)> noise_source(uint64_t seed);

}  // namespace tessera
