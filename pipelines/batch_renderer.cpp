#include "pipelines/batch_renderer.h"

#include <chrono>
#include <set>

#include "core/cancel.h"
#include "pipelines/latents.h"
#include "pipelines/output.h"

namespace tessera {
namespace {

constexpr size_t kMostTextBytes = 256 << 20;

/// The prompts that a job's guidance needs.
std::vector<std::string> prompts_of(const Job& job) {
  if (*job.cfg_scale > 1) return {job.prompt, job.negative_prompt};
  return {job.prompt};
}

}  // namespace

BatchRenderer::BatchRenderer(const WanModel& model, const Job& like)
    : model_(model), dtype_(like.dtype), device_(open_device(like.device)), tokenizer_(load_tokenizer(model)) {}

void BatchRenderer::encode_texts(std::span<const BatchJob* const> jobs,
                                 const std::function<void(const std::string&)>& note) {
  std::set<TextKey> wanted;
  for (const BatchJob* job : jobs)
    for (const std::string& prompt : prompts_of(job->job)) wanted.emplace(*job->job.max_sequence_length, prompt);
  size_t bytes = 0;
  for (const auto& [key, rows] : texts_) bytes += rows.nbytes();
  if (bytes > kMostTextBytes) std::erase_if(texts_, [&](const auto& text) { return !wanted.count(text.first); });
  std::erase_if(wanted, [&](const TextKey& key) { return texts_.count(key) > 0; });
  if (wanted.empty()) return;
  const auto encoder = load_text_encoder(model_, dtype_, device_);
  for (const TextKey& key : wanted) {
    throw_if_cancelled();
    const auto& [length, prompt] = key;
    const PromptTokens tokens = tokenize_prompt(tokenizer_, prompt, length);
    if (tokens.dropped > 0)
      note("a prompt is longer than " + std::to_string(length) + " tokens: its last " + std::to_string(tokens.dropped) +
           " are not seen: " + prompt.substr(0, 60));
    texts_[key] = encode_prompt(encoder.part, tokens.ids, static_cast<int64_t>(tokens.ids.size()), device_);
  }
}

at::Tensor BatchRenderer::text(const std::string& prompt, int64_t length) const {
  const at::Tensor& rows = texts_.at({length, prompt});
  return at::constant_pad_nd(rows, {0, 0, 0, length - rows.size(1)});  // [1, length, d_model]
}

Conditioning BatchRenderer::conditioning(const Job& job) const {
  const int64_t length = *job.max_sequence_length;
  Conditioning told{text(job.prompt, length), {}};
  if (*job.cfg_scale > 1) told.negative = text(job.negative_prompt, length);
  return told;
}

const Loaded<WanTransformer>& BatchRenderer::transformer() {
  if (!transformer_) transformer_ = load_transformer(model_, dtype_, device_);
  return *transformer_;
}

at::Tensor BatchRenderer::denoise_job(const Job& job, const std::string& label, ProgressStyle style) {
  const auto draw = noise_source(static_cast<uint64_t>(job.seed));
  const at::Tensor noise = job.latents.empty() ? draw(latent_shape(job, model_)) : read_latents(job.latents, model_);
  const auto sampler = sampler_of(job, model_);
  sampler->set_noise(draw);
  const auto& network = transformer();
  StepCache cache(job.step_cache.value_or(0.0));
  Progress progress(label + "denoising", sampler->calls(), style);
  return denoise(*sampler, network, conditioning(job), noise.to(device_), guidance_of(job), cache,
                 [&](int64_t, int64_t, const at::Tensor&) { progress.advance(); });
}

std::string BatchRenderer::decode_job(const Job& job, const at::Tensor& latents, FrameWriter& writer,
                                      const std::string& label, ProgressStyle style) {
  if (!vae_) vae_ = load_vae(model_, dtype_, device_);
  Progress progress(label + "decoding", *job.frames, style);
  return decode_to(writer, model_, *vae_, latents.to(device_), progress);
}

double BatchRenderer::seconds_per_call(const Job& job) {
  Job once = job;
  once.steps = 1;
  once.sigmas.reset();
  once.step_cache.reset();
  double seconds = 0;
  for (int round = 0; round < 2; ++round) {  // the first one also warms up
    const auto start = std::chrono::steady_clock::now();
    denoise_job(once, "", ProgressStyle::kNone);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return seconds / static_cast<double>(sampler_of(once, model_)->calls());
}

}  // namespace tessera
