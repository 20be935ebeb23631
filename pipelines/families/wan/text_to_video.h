#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "checkpoints/wan/model.h"

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

/// Frames of normalized latents, chunk by chunk: `sink` gets [1, 3, t, H, W] in [0, 1], float32. `tile` is
/// Job::vae_tile; 0 decodes frames whole.
void decode_latents(const WanModel& model, const Loaded<WanVae>& vae, const at::Tensor& latents,
                    const std::function<void(const at::Tensor& frames)>& sink, int64_t tile = 0);

}  // namespace tessera
