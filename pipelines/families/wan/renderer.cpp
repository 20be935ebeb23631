#include "pipelines/families/wan/renderer.h"

#include <set>

#include "core/cancel.h"
#include "core/utf8.h"
#include "pipelines/latents.h"
#include "pipelines/output.h"
#include "pipelines/recipe.h"

namespace tessera {
namespace {

constexpr size_t kMostTextBytes = 256 << 20;

/// The prompts that a job's guidance needs.
std::vector<std::string> prompts_of(const Job& job) {
  if (*job.cfg_scale > 1) return {job.prompt, job.negative_prompt};
  return {job.prompt};
}

}  // namespace

WanRenderer::WanRenderer(const std::filesystem::path& folder, const std::string& dtype, at::Device device)
    : model_(open_wan_model(folder)), dtype_(dtype), device_(device), tokenizer_(load_tokenizer(model_)) {}

Job WanRenderer::complete(const Job& job, std::vector<std::string>& notes) const {
  return complete_job(job, model_, job.latents.empty() ? at::Tensor() : read_latents(job.latents, model_), notes);
}

void WanRenderer::check_weights() const {
  tessera::check_weights(model_);
}

int64_t WanRenderer::calls(const Job& job) const {
  return sampler_of(job, model_)->calls();
}

std::string WanRenderer::shape(const Job& job) const {
  return c10::str(at::IntArrayRef(latent_shape(job, model_)), *job.max_sequence_length, " ", calls(job));
}

void WanRenderer::prepare(std::span<const Job* const> jobs, const Note& note) {
  std::set<TextKey> wanted;
  for (const Job* job : jobs)
    for (const std::string& prompt : prompts_of(*job)) wanted.emplace(*job->max_sequence_length, prompt);
  size_t bytes = 0;
  for (const auto& [key, rows] : texts_) bytes += rows.nbytes();
  if (bytes > kMostTextBytes) std::erase_if(texts_, [&](const auto& text) { return !wanted.count(text.first); });
  std::erase_if(wanted, [&](const TextKey& key) { return texts_.count(key) > 0; });
  if (wanted.empty()) return;
  const auto encoder = load_text_encoder(model_, dtype_, device_);
  for (const TextKey& key : wanted) {
    throw_if_canceled();
    const auto& [length, prompt] = key;
    const PromptTokens tokens = tokenize_prompt(tokenizer_, prompt, length);
    if (tokens.dropped > 0)
      note("a prompt is longer than " + std::to_string(length) + " tokens: its last " + std::to_string(tokens.dropped) +
           " are not seen: " + shortened(prompt, 60));
    texts_[key] = encode_prompt(encoder.part, tokens.ids, static_cast<int64_t>(tokens.ids.size()), device_);
  }
}

at::Tensor WanRenderer::text(const std::string& prompt, int64_t length) const {
  const at::Tensor& rows = texts_.at({length, prompt});
  return at::constant_pad_nd(rows, {0, 0, 0, length - rows.size(1)});  // [1, length, d_model]
}

SampleTask WanRenderer::task(const Job& job) const {
  const int64_t length = *job.max_sequence_length;
  const auto draw = noise_source(static_cast<uint64_t>(job.seed));
  SampleTask task;
  const at::Tensor noise = job.latents.empty() ? draw(latent_shape(job, model_)) : read_latents(job.latents, model_);
  task.noise = noise.to(device_);
  task.sampler = sampler_of(job, model_);
  task.sampler->set_noise(draw);
  task.guidance = guidance_of(job);
  task.positive = text(job.prompt, length);
  if (*job.cfg_scale > 1) task.negative = text(job.negative_prompt, length);
  task.step_cache = job.step_cache.value_or(0.0);
  return task;
}

const Loaded<WanTransformer>& WanRenderer::transformer() {
  if (!transformer_) transformer_ = load_transformer(model_, dtype_, device_);
  return *transformer_;
}

std::vector<SampleResult> WanRenderer::denoise(std::span<const Job* const> jobs, TogetherLimit& limit,
                                               Progress& progress) {
  std::vector<SampleTask> tasks;
  for (const Job* job : jobs) tasks.push_back(task(*job));
  return sample_together(tasks, network_of(transformer()), limit, [&] { progress.advance(); });
}

std::string WanRenderer::decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) {
  if (!vae_) vae_ = load_vae(model_, dtype_, device_);
  return decode_to(writer, model_, *vae_, latents.to(device_), progress, job);
}

}  // namespace tessera
