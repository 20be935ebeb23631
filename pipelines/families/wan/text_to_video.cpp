#include "pipelines/families/wan/text_to_video.h"

#include "core/cancel.h"
#include "core/memory_cache.h"
#include "models/umt5/prompt_clean.h"

namespace tessera {

PromptTokens tokenize_prompt(const Tokenizer& tokenizer, const std::string& text, int64_t length) {
  const std::string clean = clean_prompt(text);
  const auto all = static_cast<int64_t>(tokenizer.encode(clean).size());
  return {tokenizer.encode(clean, length), std::max<int64_t>(0, all - length)};
}

at::Tensor encode_prompt(const Umt5Encoder& encoder, const std::vector<int64_t>& ids, int64_t length,
                         at::Device device) {
  const auto tokens = static_cast<int64_t>(ids.size());
  TORCH_CHECK(tokens <= length, "encode_prompt: ", tokens, " tokens exceed the length ", length);
  const at::Tensor row = at::tensor(ids, at::kLong).unsqueeze(0).to(device);
  const KeptMemory kept;  // a layer has the sizes of the one before
  // The encoder gives a prompt's own rows whatever the padding, so none is computed.
  return at::constant_pad_nd(encoder.forward(row, {}), {0, 0, 0, length - tokens});  // [1, length, d_model]
}

void decode_latents(const WanModel& model, const Loaded<WanVae>& vae, const at::Tensor& latents,
                    const std::function<void(const at::Tensor&)>& sink, int64_t tile) {
  const auto per_channel = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kFloat).to(latents.device()).view({1, -1, 1, 1, 1});
  };
  const at::Tensor scaled = latents * per_channel(model.vae.latents_std) + per_channel(model.vae.latents_mean);
  const auto send = [&](const at::Tensor& frames) {
    throw_if_canceled();
    sink(frames.to(at::kFloat).div(2).add(0.5).clamp(0, 1));
  };
  if (tile > 0)
    vae.part.decode_tiles(scaled.to(vae.dtype), tile, send, throw_if_canceled);
  else
    vae.part.decode_chunks(scaled.to(vae.dtype), send);
}

}  // namespace tessera
