#include "pipelines/families/wan/renderer.h"

#include <set>

#include "checkpoints/fingerprint.h"
#include "checkpoints/wan/loras.h"
#include "checkpoints/wan/tiny_decoder.h"
#include "core/cancel.h"
#include "core/profile.h"
#include "core/text.h"
#include "core/utf8.h"
#include "pipelines/denoise_tasks.h"
#include "pipelines/families/wan/painter.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/few_steps.h"
#include "pipelines/latents.h"

namespace tessera {
namespace {

constexpr size_t kMostTextBytes = 256 << 20;

/// The prompts that a job's guidance needs.
std::vector<std::string> prompts_of(const Job& job) {
  if (*job.cfg_scale > 1) return {job.prompt, job.negative_prompt};
  return {job.prompt};
}

/// Whether a LoRA adds a difference to a norm.
bool changes_norms(const OpenedLora& lora) {
  for (const auto& [network, parameters] : lora.changes)
    for (const auto& [name, terms] : parameters)
      for (const LoraTerm& term : terms)
        if (term.layer->diff.defined() && name.find("norm") != std::string::npos) return true;
  return false;
}

}  // namespace

WanRenderer::WanRenderer(const std::filesystem::path& path, const Job& like)
    : device_(open_device(like.device)),
      model_(open_wan_model(path)),
      dtype_(like.dtype),
      stream_(like.stream_layers),
      fingerprint_(model_fingerprint(like)),
      tokenizer_(load_tokenizer(model_)) {}

at::Tensor WanRenderer::read_latents(const std::string& argument) const {
  return tessera::read_latents(argument, model_.vae.z_dim, 5);
}

Job WanRenderer::resolve(const Job& job, const at::Tensor& latents, std::vector<std::string>& notes) const {
  Job wanted = job;
  take_lora_schedules(wanted, notes);
  Job resolved = resolve_job(wanted, model_, latents, notes);
  resolved.model_fingerprint = fingerprint_;
  take_loras(resolved, notes);
  return resolved;
}

LoraShelf& WanRenderer::loras() const {
  if (!loras_) loras_ = std::make_unique<LoraShelf>(lora_shelf(model_));
  return *loras_;
}

/// A distilled LoRA may carry its schedule: it fills what the job leaves open, unless a preset was chosen.
void WanRenderer::take_lora_schedules(Job& job, std::vector<std::string>& notes) const {
  if (job.preset) return;
  for (const LoraUse& use : job.loras) {
    if (use.strength == 0) continue;
    const Job schedule = schedule_of_metadata(loras().open(use.path).file.metadata, use.path);
    const nlohmann::ordered_json before = recipe_json(job);
    fill_schedule(job, schedule);
    if (recipe_json(job) != before)
      notes.push_back(use.path +
                      " has a schedule in its metadata, used where no option is given: " + schedule_options(schedule));
  }
}

/// Opens the job's LoRAs, tells what is to be told of them and drops those of strength 0.
void WanRenderer::take_loras(Job& job, std::vector<std::string>& notes) const {
  for (LoraUse& use : job.loras) {
    const OpenedLora& lora = loras().open(use.path);
    if (!use.sha256.empty() && use.sha256 != lora.sha256)
      notes.push_back(use.path + " has changed since the recipe was made: pixels may differ");
    use.sha256 = lora.sha256;
    for (const std::string& note : {lora.unmatched_note(), softmax_warning(lora, model_.transformer)})
      if (!note.empty()) notes.push_back(note);
    if (changes_norms(lora))
      notes.push_back(use.path + ": its differences of norms are applied (diffusers drops them)");
  }
  std::erase_if(job.loras, [](const LoraUse& use) { return use.strength == 0; });
}

void WanRenderer::check_weights() const {
  const ProfileScope scope("checking weights");
  tessera::check_weights(model_);
}

int64_t WanRenderer::calls(const Job& job) const {
  return sampler_of(job, model_)->calls();
}

std::string WanRenderer::shape(const Job& job) const {
  return c10::str(at::IntArrayRef(latent_shape(job, model_)), *job.max_sequence_length, " ", calls(job)) +
         (job.loras.empty() ? "" : " " + lora_key(job.loras, loras()));
}

WanRenderer::TextKey WanRenderer::text_key(const Job& job, const std::string& prompt) const {
  return {job.loras.empty() ? "" : lora_key(job.loras, loras(), kLoraTextEncoder), *job.max_sequence_length, prompt};
}

void WanRenderer::prepare(std::span<const Job* const> jobs, const Note& note) {
  std::map<TextKey, const Job*> wanted;
  for (const Job* job : jobs)
    for (const std::string& prompt : prompts_of(*job)) wanted.emplace(text_key(*job, prompt), job);
  size_t bytes = 0;
  for (const auto& [key, rows] : texts_) bytes += rows.nbytes();
  if (bytes > kMostTextBytes) std::erase_if(texts_, [&](const auto& text) { return !wanted.count(text.first); });
  std::erase_if(wanted, [&](const auto& one) { return texts_.count(one.first) > 0; });
  if (wanted.empty()) return;
  const ProfileScope scope("text encoding");
  auto encoder = [&] {
    const ProfileScope reading("reading weights");
    return load_text_encoder(model_, dtype_, device_, stream_);
  }();
  std::optional<LoraWeights> weights;
  for (const auto& [key, job] : wanted) {
    throw_if_canceled();
    const auto& [lora, length, prompt] = key;
    if (!weights && !lora.empty())
      weights.emplace(kLoraTextEncoder, read_component(model_.folder.component("text_encoder")), encoder.dtype,
                      device_);
    if (weights) weights->apply_to(encoder.part, job->loras, loras());
    const PromptTokens tokens = tokenize_prompt(tokenizer_, prompt, length);
    if (tokens.dropped > 0)
      note("a prompt is longer than " + std::to_string(length) + " tokens: its last " +
           counted(tokens.dropped, "token is", "tokens are") + " ignored: " + shortened(prompt, 60));
    texts_[key] = encode_prompt(encoder.part, tokens.ids, static_cast<int64_t>(tokens.ids.size()), device_);
  }
}

at::Tensor WanRenderer::text(const Job& job, const std::string& prompt) const {
  const at::Tensor& rows = texts_.at(text_key(job, prompt));
  return at::constant_pad_nd(rows, {0, 0, 0, *job.max_sequence_length - rows.size(1)});  // [1, length, d_model]
}

SampleTask WanRenderer::task(const DenoiseRequest& request) const {
  const Job& job = *request.job;
  const auto draw = noise_source(job.seed.value());
  const auto noise = [&] {
    if (request.noise.defined()) return request.noise;
    return job.latents.empty() ? draw(latent_shape(job, model_)) : read_latents(job.latents);
  };
  SampleTask task;
  task.noise = noise().to(device_);
  task.sampler = sampler_of(job, model_);
  task.sampler->set_noise(draw);
  task.guidance = guidance_of(job);
  task.positive = text(job, job.prompt);
  if (*job.cfg_scale > 1) task.negative = text(job, job.negative_prompt);
  task.step_cache = job.step_cache.value_or(0.0);
  task.on_data = request.on_data;
  return task;
}

LatentPainter WanRenderer::painter(const std::string& decoder) const {
  if (decoder.empty()) return linear_painter(model_);
  return decoded_painter(load_tiny_decoder(decoder, model_.vae.z_dim, device_));
}

const Loaded<WanTransformer>& WanRenderer::transformer(const Job& job) {
  const ProfileScope scope("reading weights");
  if (!transformer_) transformer_ = load_transformer(model_, dtype_, device_, stream_);
  if (!transformer_loras_ && !job.loras.empty())
    transformer_loras_.emplace(kLoraTransformer, read_component(model_.folder.component("transformer")),
                               transformer_->dtype, device_);
  if (transformer_loras_) transformer_loras_->apply_to(transformer_->part, job.loras, loras());
  return *transformer_;
}

void WanRenderer::release_denoiser() {
  transformer_.reset();
  transformer_loras_.reset();
}

std::vector<DenoiseResult> WanRenderer::denoise(std::span<const DenoiseRequest> requests, BatchLimit& limit,
                                                Progress& progress) {
  std::vector<SampleTask> tasks;
  for (const DenoiseRequest& request : requests) tasks.push_back(task(request));
  NormalizerStats stats;
  const auto network = network_of(transformer(*requests.front().job), &stats, probe_);
  return denoise_tasks(tasks, network, stats, limit, progress);
}

FrameProblem WanRenderer::decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) {
  if (!vae_) {
    const ProfileScope scope("reading weights");
    vae_ = load_vae(model_, dtype_, device_);
  }
  const ProfileScope scope("decode");
  FrameCheck check;
  const auto take = [&](const at::Tensor& chunk) {
    if (!check.finite()) return;
    const at::Tensor frames = chunk.cpu();
    check.add(frames);
    if (!check.finite()) return;
    const ProfileScope writing("write");
    for (int64_t t = 0; t < frames.size(2); ++t) writer.write(frames.select(0, 0).select(1, t));
    progress.advance(frames.size(2));
  };
  decode_latents(model_, *vae_, latents.to(device_), take, job.vae_tile.value_or(0));
  if (check.problem() != FrameProblem::kNone) return check.problem();
  throw_if_canceled();
  const ProfileScope writing("write");
  writer.finish();
  return FrameProblem::kNone;
}

}  // namespace tessera
