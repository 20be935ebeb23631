#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "checkpoints/wan/model.h"
#include "core/job.h"
#include "pipelines/sampling.h"
#include "samplers/loop.h"
#include "samplers/step_cache.h"

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

/// The denoiser as samplers call it: the sample and the text states are cast to its dtype. It must outlive the result,
/// and so must `stats`, which counts MHLA's normalizers.
ConditionalModel network_of(const Loaded<WanTransformer>& transformer, NormalizerStats* stats = nullptr);

/// From noise to normalized latents: noise [1, z_dim, t, h, w] float32 on the transformer's device; the same back.
/// Guidance combines both branches, which run as one batch; at a scale of 1 or less the prompt runs alone. `cache`
/// (fresh for this trajectory) may spare calls of the transformer.
/// Throws Error when a stop was asked for (before the next step) or the latents are no longer finite (exit code 4).
at::Tensor denoise(Sampler& sampler, const Loaded<WanTransformer>& transformer, const Conditioning& conditioning,
                   const at::Tensor& noise, const GuidanceConfig& guidance, StepCache& cache, const OnStep& on_step,
                   NormalizerStats* stats = nullptr);

/// Frames of normalized latents, chunk by chunk: `sink` gets [1, 3, t, H, W] in [0, 1], float32. `tile` is
/// Job::vae_tile; 0 decodes frames whole.
void decode_latents(const WanModel& model, const Loaded<WanVae>& vae, const at::Tensor& latents,
                    const std::function<void(const at::Tensor& frames)>& sink, int64_t tile = 0);

}  // namespace tessera
