#include "pipelines/families/wan/renderer.h"

#include <algorithm>
#include <functional>
#include <set>

#include "checkpoints/fingerprint.h"
#include "checkpoints/wan/loras.h"
#include "checkpoints/wan/tiny_decoder.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/text.h"
#include "core/transfer.h"
#include "core/utf8.h"
#include "pipelines/denoise_tasks.h"
#include "pipelines/families/wan/memory.h"
#include "pipelines/families/wan/network.h"
#include "pipelines/families/wan/painter.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/few_steps.h"
#include "pipelines/frame_stream.h"
#include "pipelines/latents.h"

namespace tessera {
namespace {

constexpr size_t kMostKeptBytes = 256 << 20;

/// The prompts that a job's guidance needs.
std::vector<std::string> prompts_of(const Job& job, const WanModel& model) {
  if (guidance_of(job, model).guides()) return {job.prompt, job.negative_prompt};
  return {job.prompt};
}

size_t bytes_of(const ImageCondition& image) {
  size_t bytes = 0;
  for (const at::Tensor* part : {&image.channels, &image.states, &image.first_frame})
    if (part->defined()) bytes += part->nbytes();
  return bytes;
}

at::Tensor first_picture(const Job& job) {
  return read_input_picture(job.image, "image");
}

/// Undefined without one.
at::Tensor last_picture(const Job& job) {
  return job.last_image.empty() ? at::Tensor() : read_input_picture(job.last_image, "last-image");
}

/// The states of a job's pictures, one after the other.
at::Tensor image_states(const Loaded<ClipVision>& encoder, const Job& job, at::Device device) {
  std::vector<at::Tensor> states;
  for (const at::Tensor& picture : {first_picture(job), last_picture(job)})
    if (picture.defined())
      states.push_back(encoder.part(clip_pixels(picture, encoder.part.config().image_size).to(device)));
  return at::cat(states, 1);  // [1, pictures * S, hidden_size]
}

/// The LoRAs of a job that are for this expert.
std::vector<LoraUse> loras_of(const Job& job, WanExpert expert) {
  std::vector<LoraUse> loras = job.loras;
  const char* other = expert == WanExpert::kHighNoise ? "low" : "high";
  std::erase_if(loras, [&](const LoraUse& use) { return use.expert == other; });
  return loras;
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
      offload_(like.stream_layers ? Offload::kLayers : find_offload(like.offload)),
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
    if (!use.expert.empty() && !model_.transformer_2)
      throw Error(use.path + ": \"expert\" is for models with two denoisers (Wan 2.2 A14B), this one has one; omit it");
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
  return c10::str(at::IntArrayRef(latent_shape(job, model_)), *job.max_sequence_length, " ", calls(job),
                  model_.transformer_2 ? c10::str(" of them ", high_noise_calls(job, model_)) : "",
                  job.image.empty() ? "" : " image") +
         (job.loras.empty() ? "" : " " + lora_key(job.loras, loras()));
}

WanRenderer::TextKey WanRenderer::text_key(const Job& job, const std::string& prompt) const {
  return {job.loras.empty() ? "" : lora_key(job.loras, loras(), kLoraTextEncoder), *job.max_sequence_length, prompt};
}

void WanRenderer::prepare(std::span<const Job* const> jobs, const Note& note) {
  plan_memory(jobs, note);
  prepare_texts(jobs, note);
  prepare_images(jobs);
}

void WanRenderer::plan_memory(std::span<const Job* const> jobs, const Note& note) {
  if (!device_.is_cuda() || jobs.empty()) return;
  const auto pixels = [](const Job* job) { return *job->width * *job->height * *job->frames; };
  const Job* largest =
      *std::max_element(jobs.begin(), jobs.end(), [&](const Job* a, const Job* b) { return pixels(a) < pixels(b); });
  if (plan_ && pixels(largest) <= planned_pixels_) return;
  if (!plan_) free_bytes_ = device_memory(device_).free;
  planned_pixels_ = pixels(largest);
  const OffloadPlan plan = plan_offload(model_bytes(model_, *largest, dtype_, device_), free_bytes_, offload_);
  if (plan_ && plan.stream_transformer != plan_->stream_transformer) release_denoiser();
  plan_ = plan;
  note(offload_text(plan));
}

void WanRenderer::prepare_texts(std::span<const Job* const> jobs, const Note& note) {
  std::map<TextKey, const Job*> wanted;
  for (const Job* job : jobs)
    for (const std::string& prompt : prompts_of(*job, model_)) wanted.emplace(text_key(*job, prompt), job);
  size_t bytes = 0;
  for (const auto& [key, rows] : texts_) bytes += rows.nbytes();
  if (bytes > kMostKeptBytes) std::erase_if(texts_, [&](const auto& text) { return !wanted.count(text.first); });
  std::erase_if(wanted, [&](const auto& one) { return texts_.count(one.first) > 0; });
  if (wanted.empty()) return;
  if (in_turn()) {
    release_denoiser();
    vae_.reset();
  }
  const ProfileScope scope("text encoding");
  auto encoder = [&] {
    const ProfileScope reading("reading weights");
    return load_text_encoder(model_, dtype_, device_, plan_ ? plan_->stream_text_encoder : stream_);
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

WanRenderer::ImageKey WanRenderer::image_key(const Job& job) const {
  return {job.image.sha256, job.last_image.sha256, job.resize_mode.value_or(""), *job.width,
          *job.height,      *job.frames,           job.vae_tile.value_or(0)};
}

void WanRenderer::prepare_images(std::span<const Job* const> jobs) {
  std::map<ImageKey, const Job*> wanted;
  for (const Job* job : jobs)
    if (!job->image.empty()) wanted.emplace(image_key(*job), job);
  size_t bytes = 0;
  for (const auto& [key, image] : images_) bytes += bytes_of(image);
  if (bytes > kMostKeptBytes) std::erase_if(images_, [&](const auto& image) { return !wanted.count(image.first); });
  std::erase_if(wanted, [&](const auto& one) { return images_.count(one.first) > 0; });
  if (wanted.empty()) return;
  const ProfileScope scope("image encoding");
  std::map<ImageKey, at::Tensor> states;
  if (model_.image_encoder && model_.transformer.image_dim > 0) {  // in memory before the autoencoder, not beside it
    const auto encoder = load_image_encoder(model_, dtype_, device_);
    for (const auto& [key, job] : wanted) {
      throw_if_canceled();
      states[key] = image_states(encoder, *job, device_);
    }
  }
  for (const auto& [key, job] : wanted) {
    throw_if_canceled();
    images_[key] = image_condition(model_, vae(), *job, first_picture(*job), last_picture(*job), states[key], device_);
  }
}

ImageCondition WanRenderer::image(const Job& job) const {
  return job.image.empty() ? ImageCondition() : images_.at(image_key(job));
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
  task.noise = uploaded(noise(), device_);
  task.sampler = sampler_of(job, model_);
  task.sampler->set_noise(draw);
  task.guidance = guidance_of(job, model_);
  task.positive = text(job, job.prompt);
  if (task.guidance.guides()) task.negative = text(job, job.negative_prompt);
  task.step_cache = job.step_cache.value_or(0.0);
  if (request.on_data)
    task.on_data = [show = request.on_data, first = image(job).first_frame](int64_t done, const at::Tensor& data) {
      show(done, with_first_frame(data, first));
    };
  return task;
}

LatentPainter WanRenderer::painter(const std::string& decoder) const {
  if (decoder.empty()) return linear_painter(model_);
  return decoded_painter(load_tiny_decoder(decoder, model_.vae.z_dim, device_));
}

void WanRenderer::read_transformer(const Job& job, WanExpert expert) {
  const ProfileScope scope("reading weights");
  if (expert != expert_) release_denoiser();
  expert_ = expert;
  if (in_turn()) vae_.reset();
  const bool stream = plan_ ? plan_->stream_transformer : stream_;
  if (!transformer_) transformer_ = load_transformer(model_, dtype_, device_, stream, expert);
  const std::vector<LoraUse> uses = loras_of(job, expert);
  if (!uses.empty() && stream && device_.is_cuda())
    throw Error("LoRAs cannot be added to layers that are streamed to a GPU: choose --offload parts or a smaller size");
  if (!transformer_loras_ && !uses.empty())
    transformer_loras_.emplace(kLoraTransformer, read_component(model_.folder.component(part_name(expert))),
                               transformer_->dtype, device_);
  if (transformer_loras_) transformer_loras_->apply_to(transformer_->part, uses, loras());
}

const Loaded<WanVae>& WanRenderer::vae() {
  if (!vae_) {
    const ProfileScope scope("reading weights");
    vae_ = load_vae(model_, dtype_, device_);
  }
  return *vae_;
}

void WanRenderer::release_denoiser() {
  transformer_.reset();
  transformer_loras_.reset();
}

std::vector<DenoiseResult> WanRenderer::denoise(std::span<const DenoiseRequest> requests, BatchLimit& limit,
                                                Progress& progress) {
  std::vector<SampleTask> tasks;
  std::vector<ImageCondition> images;
  for (const DenoiseRequest& request : requests) {
    tasks.push_back(task(request));
    images.push_back(image(*request.job));
  }
  NormalizerStats stats;
  std::optional<WanExpert> resident;
  const auto expert = [&](double timestep) -> WanNetwork::Expert {
    const WanExpert wanted = model_.expert_at(timestep);
    if (wanted != resident) read_transformer(*requests.front().job, wanted);
    resident = wanted;
    return {wanted, *transformer_};
  };
  expert(tasks.front().sampler->schedule().timesteps.front());  // what cannot be read is no failure of a task
  WanNetwork network(expert, images, &stats, probe_);
  std::vector<DenoiseResult> results = denoise_tasks(tasks, std::ref(network), stats, limit, progress,
                                                     [&](std::span<const TaskRows> rows) { network.begin(rows); });
  for (size_t i = 0; i < results.size(); ++i)
    if (results[i].latents.defined()) results[i].latents = with_first_frame(results[i].latents, images[i].first_frame);
  return results;
}

FrameProblem WanRenderer::decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) {
  if (in_turn()) release_denoiser();
  const Loaded<WanVae>& decoder = vae();
  const ProfileScope scope("decode");
  FrameStream stream(writer, progress);
  decode_latents(
      model_, decoder, latents.to(device_), [&](const at::Tensor& chunk) { stream.add(chunk); },
      job.vae_tile.value_or(0));
  return stream.finish();
}

}  // namespace tessera
