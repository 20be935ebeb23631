#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "core/job.h"
#include "pipelines/wan_model.h"
#include "samplers/loop.h"

namespace tessera {

/// Token ids of a prompt after Wan's clean-up, the end id last; at most `length`.
struct PromptTokens {
  std::vector<int64_t> ids;
  int64_t dropped = 0;  ///< tokens cut off because they exceed the length
};
PromptTokens tokenize_prompt(const Tokenizer& tokenizer, const std::string& text, int64_t length);

/// States of one prompt, [1, length, d_model] in the encoder's dtype on `device`, zero beyond its tokens.
at::Tensor encode_prompt(const Umt5Encoder& encoder, const std::vector<int64_t>& ids, int64_t length,
                         at::Device device);

/// What the denoiser is told: states of the prompt and, where guidance is on, of the negative prompt.
struct Conditioning {
  at::Tensor positive, negative;  ///< [1, length, text_dim]; negative undefined without guidance
};

/// The noise that makes one output.
struct Noise {
  at::Tensor initial;  ///< [1, z_dim, t, h, w] float32
  DrawNoise draw;      ///< for solvers that add some at every step
};

/// From noise to normalised latents, [1, z_dim, t, h, w] float32 on the noise's device (the transformer's): solver,
/// steps, shift and guidance of a completed job. Both guidance branches run as one batch.
/// Throws Error when a stop was asked for (before the next step) or the latents are no longer finite (exit code 4).
at::Tensor denoise(const WanModel& model, const Loaded<WanTransformer>& transformer, const Conditioning& conditioning,
                   const Noise& noise, const Job& job, const OnStep& on_step);

/// Frames of normalised latents, chunk by chunk: `sink` gets [1, 3, t, H, W] in [0, 1], float32.
void decode_latents(const WanModel& model, const Loaded<WanVae>& vae, const at::Tensor& latents,
                    const std::function<void(const at::Tensor& frames)>& sink);

}  // namespace tessera
