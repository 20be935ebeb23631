#include "pipelines/families/dit/renderer.h"

#include <ATen/ATen.h>

#include <limits>

#include "checkpoints/fingerprint.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/text.h"
#include "core/transfer.h"
#include "models/attention/probe.h"
#include "pipelines/denoise_tasks.h"
#include "pipelines/frame_stream.h"
#include "pipelines/latents.h"
#include "pipelines/recipe.h"
#include "pipelines/sampling.h"

namespace tessera {
namespace {

/// Options that only models which render a prompt or a clip take.
void refuse_prompt_options(const Job& job) {
  const std::string why = " does not apply to this model: it renders pictures of classes (--class)";
  const std::pair<const char*, bool> options[] = {{"a prompt", !job.prompt.empty()},
                                                  {"--negative-prompt", !job.negative_prompt.empty()},
                                                  {"--frames above 1", job.frames.value_or(1) != 1},
                                                  {"--fps", job.fps.has_value()},
                                                  {"--image", !job.image.empty()},
                                                  {"--last-image", !job.last_image.empty()},
                                                  {"--resize-mode", job.resize_mode.has_value()},
                                                  {"--cfg-scale-2", job.cfg_scale_2.has_value()},
                                                  {"--lora", !job.loras.empty()},
                                                  {"--max-sequence-length", job.max_sequence_length.has_value()}};
  for (const auto& [name, given] : options)
    if (given) throw Error(name + why);
}

std::vector<int64_t> classes_of(const Job& job, const DitModel& model) {
  const int64_t count = model.class_count();
  if (!job.class_label || job.class_label->empty())
    throw Error("choose what to show with --class: a name such as \"golden retriever\", a number from 0 to " +
                std::to_string(count - 1) + ", or several joined by commas");
  return model.classes.find_all(*job.class_label, count);
}

void check_size(const Job& job, const DitModel& model) {
  const std::string size = std::to_string(model.pixels());
  if (*job.width == model.pixels() && *job.height == model.pixels()) return;
  throw Error("size " + std::to_string(*job.width) + "x" + std::to_string(*job.height) +
              " does not fit this model: it renders " + size + "x" + size + " pixels only; omit --size");
}

void check_tile(const Job& job, const DitModel& model) {
  const int64_t smallest = 4 * model.vae.stride();
  if (job.vae_tile && *job.vae_tile > 0 && *job.vae_tile < smallest)
    throw Error("--vae-tile " + std::to_string(*job.vae_tile) + " is too small for this autoencoder: want at least " +
                std::to_string(smallest) + ", or 0 to decode the whole picture");
}

void check_latents(const at::Tensor& latents, const Job& job, const DitModel& model, int64_t outputs) {
  const int64_t size = model.transformer.sample_size;
  const std::vector<int64_t> want = {outputs, model.transformer.in_channels, size, size};
  if (latents.sizes() != at::IntArrayRef(want))
    throw Error(c10::str("--latents ", job.latents, ": ", counted(outputs, "output"), " want ", at::IntArrayRef(want),
                         ", got ", latents.sizes()));
}

void choose_output(Job& job) {
  if (job.output.empty()) job.output = "tessera_" + job.seed.text() + ".png";
}

std::string class_note(const std::vector<int64_t>& classes, const DitModel& model) {
  return "class " + joined(classes, ", ", [&](int64_t label) {
           const std::string name = model.classes.name(label);
           return std::to_string(label) + (name.empty() ? "" : " (" + name + ")");
         });
}

int64_t class_number(const Job& job) {
  return std::stoll(*job.class_label);
}

}  // namespace

Job resolve_job(Job job, const DitModel& model, const at::Tensor& latents, std::vector<std::string>& notes) {
  refuse_prompt_options(job);
  const std::vector<int64_t> classes = classes_of(job, model);
  job.class_label = joined(classes, ",");
  take_respacing(job);
  Job defaults = model_defaults(model);
  if (job.steps) defaults.timestep_respacing.reset();
  fill_unset(job, defaults);
  check_size(job, model);
  check_tile(job, model);
  check_sampling(job, model, notes);
  if (latents.defined()) check_latents(latents, job, model, job.count * static_cast<int64_t>(classes.size()));
  settle_seed(job);
  choose_output(job);
  for (const std::string& note : model.notes) notes.push_back(note);
  notes.push_back(class_note(classes, model));
  return job;
}

at::Tensor decode_latents(const DitModel& model, const Loaded<AutoencoderKl>& vae, const at::Tensor& latents,
                          int64_t tile) {
  const at::Tensor scaled = (latents / model.vae.scaling_factor + model.vae.shift_factor).to(vae.dtype);
  const at::Tensor pixels = tile > 0 ? vae.part.decode_tiled(scaled, tile) : vae.part.decode(scaled);
  return pixels.to(at::kFloat).div(2).add(0.5).clamp(0, 1);
}

ConditionalModel network_of(const Loaded<Dit>& transformer, bool variance, NormalizerStats* stats,
                            AttentionProbe* probe) {
  return [&transformer, variance, stats, probe](const at::Tensor& x, const at::Tensor& timesteps,
                                                const at::Tensor& classes) {
    if (stats) *stats = {};
    if (probe) probe->begin_call(timesteps);
    const at::Tensor out = transformer.part(x.to(transformer.dtype), timesteps, classes, stats, probe);
    return variance ? out : out.narrow(1, 0, x.size(1));
  };
}

DitRenderer::DitRenderer(const std::filesystem::path& path, const Job& like)
    : device_(open_device(like.device)),
      model_(open_dit_model(path, model_options(like))),
      dtype_(like.dtype),
      stream_(like.stream_layers),
      fingerprint_(model_fingerprint(like)) {}

at::Tensor DitRenderer::read_latents(const std::string& argument) const {
  return tessera::read_latents(argument, model_.transformer.in_channels, 4);
}

Job DitRenderer::resolve(const Job& job, const at::Tensor& latents, std::vector<std::string>& notes) const {
  Job resolved = resolve_job(job, model_, latents, notes);
  resolved.model_fingerprint = fingerprint_;
  return resolved;
}

std::vector<Job> DitRenderer::single_outputs(const Job& job) const {
  const std::vector<int64_t> classes = ClassNames({}).find_all(*job.class_label, std::numeric_limits<int64_t>::max());
  Job all = job;
  all.count = job.count * static_cast<int64_t>(classes.size());
  std::vector<Job> singles = Renderer::single_outputs(all);
  for (size_t i = 0; i < singles.size(); ++i)
    singles[i].class_label = std::to_string(classes[i / static_cast<size_t>(job.count)]);
  return singles;
}

void DitRenderer::check_weights() const {
  const ProfileScope scope("checking weights");
  tessera::check_weights(model_);
}

int64_t DitRenderer::calls(const Job& job) const {
  return sampler_of(job, model_)->calls();
}

std::string DitRenderer::shape(const Job& job) const {
  return std::to_string(calls(job)) + (takes_variance(job, model_) ? " with variance" : "");
}

SampleTask DitRenderer::task(const DenoiseRequest& request) const {
  const Job& job = *request.job;
  const auto draw = noise_source(job.seed.value());
  const int64_t size = model_.transformer.sample_size;
  const auto noise = [&] {
    if (request.noise.defined()) return request.noise;
    return job.latents.empty() ? draw({1, model_.transformer.in_channels, size, size}) : read_latents(job.latents);
  };
  const auto label = [&](int64_t number) {
    return at::full({1}, number, at::TensorOptions().dtype(at::kLong).device(device_));
  };
  SampleTask task;
  task.noise = uploaded(noise(), device_);
  task.sampler = sampler_of(job, model_);
  task.sampler->set_noise(draw);
  task.guidance = guidance_of(job, model_);
  task.positive = label(class_number(job));
  if (*job.cfg_scale > 1) task.negative = label(model_.class_count());
  task.step_cache = job.step_cache.value_or(0.0);
  return task;
}

std::vector<DenoiseResult> DitRenderer::denoise(std::span<const DenoiseRequest> requests, BatchLimit& limit,
                                                Progress& progress) {
  if (!transformer_) {
    const ProfileScope scope("reading weights");
    transformer_ = load_transformer(model_, dtype_, device_, stream_);
  }
  std::vector<SampleTask> tasks;
  for (const DenoiseRequest& request : requests) tasks.push_back(task(request));
  NormalizerStats stats;
  const auto network = network_of(*transformer_, takes_variance(*requests.front().job, model_), &stats, probe_);
  return denoise_tasks(tasks, network, stats, limit, progress);
}

FrameProblem DitRenderer::decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) {
  if (!vae_) {
    const ProfileScope scope("reading weights");
    vae_ = load_vae(model_, dtype_, device_);
  }
  const ProfileScope scope("decode");
  FrameStream stream(writer, progress);
  stream.add(decode_latents(model_, *vae_, latents.to(device_), job.vae_tile.value_or(0)).unsqueeze(2));
  return stream.finish();
}

}  // namespace tessera
