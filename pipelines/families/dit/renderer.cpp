#include "pipelines/families/dit/renderer.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <random>

#include "core/cancel.h"
#include "core/disk_space.h"
#include "core/error.h"
#include "media/frame_writer.h"
#include "pipelines/frame_check.h"
#include "pipelines/latents.h"
#include "pipelines/output.h"
#include "pipelines/recipe.h"

namespace tessera {
namespace {

DitOptions options_of(const Job& job) {
  return {job.vae.value_or(""), job.block_size};
}

/// Options that only models which render a prompt or a clip take.
void refuse_prompt_options(const Job& job) {
  const std::string why = " has no meaning for this model: it makes pictures of classes (--class)";
  const std::pair<const char*, bool> options[] = {{"a prompt", !job.prompt.empty()},
                                                  {"--negative-prompt", !job.negative_prompt.empty()},
                                                  {"--frames above 1", job.frames.value_or(1) != 1},
                                                  {"--fps", job.fps.has_value()},
                                                  {"--max-sequence-length", job.max_sequence_length.has_value()}};
  for (const auto& [name, given] : options)
    if (given) throw Error(name + why);
}

std::vector<int64_t> classes_of(const Job& job, const DitModel& model) {
  const int64_t count = model.class_count();
  if (!job.class_label || job.class_label->empty())
    throw Error("say what to show with --class: a name such as \"golden retriever\", a number from 0 to " +
                std::to_string(count - 1) + ", or several joined by commas");
  return model.classes.find_all(*job.class_label, count);
}

void check_size(const Job& job, const DitModel& model) {
  const std::string size = std::to_string(model.pixels());
  if (*job.width == model.pixels() && *job.height == model.pixels()) return;
  throw Error("size " + std::to_string(*job.width) + "x" + std::to_string(*job.height) +
              " does not fit this model: its positions are for " + size + "x" + size + " pixels; leave --size out");
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
    throw Error(c10::str("--latents ", job.latents, ": ", outputs, " output(s) want ", at::IntArrayRef(want), ", got ",
                         latents.sizes()));
}

void choose_output(Job& job) {
  if (job.output.empty()) job.output = "tessera_" + std::to_string(job.seed) + ".png";
}

std::string class_note(const std::vector<int64_t>& classes, const DitModel& model) {
  std::string text;
  for (const int64_t label : classes) {
    const std::string name = model.classes.name(label);
    text += (text.empty() ? "class " : ", ") + std::to_string(label) + (name.empty() ? "" : " (" + name + ")");
  }
  return text;
}

int64_t class_number(const Job& job) {
  return std::stoll(*job.class_label);
}

}  // namespace

Job complete_job(Job job, const DitModel& model, const at::Tensor& latents, std::vector<std::string>& notes) {
  refuse_prompt_options(job);
  const std::vector<int64_t> classes = classes_of(job, model);
  job.class_label = "";
  for (const int64_t label : classes) *job.class_label += (job.class_label->empty() ? "" : ",") + std::to_string(label);
  fill_unset(job, model_defaults(model));
  check_size(job, model);
  check_tile(job, model);
  check_sampling(job, model, notes);
  if (latents.defined()) check_latents(latents, job, model, job.count * static_cast<int64_t>(classes.size()));
  if (job.seed < 0) job.seed = static_cast<int64_t>(std::random_device()());
  choose_output(job);
  for (const std::string& note : model.notes) notes.push_back(note);
  notes.push_back(class_note(classes, model));
  return job;
}

std::vector<Job> single_outputs(const Job& job) {
  const std::vector<int64_t> classes = ClassNames({}).find_all(*job.class_label, std::numeric_limits<int64_t>::max());
  Job all = job;
  all.count = job.count * static_cast<int64_t>(classes.size());
  std::vector<Job> singles;
  for (int64_t i = 0; i < all.count; ++i) {
    Job single = job;
    single.class_label = std::to_string(classes[static_cast<size_t>(i / job.count)]);
    single.output = output_name(all, i);
    single.seed = job.seed + i;
    single.count = 1;
    singles.push_back(std::move(single));
  }
  return singles;
}

at::Tensor read_latents(const std::string& argument, const DitModel& model) {
  return read_latents(argument, model.transformer.in_channels, 4);
}

at::Tensor decode_latents(const DitModel& model, const Loaded<AutoencoderKl>& vae, const at::Tensor& latents,
                          int64_t tile) {
  const at::Tensor scaled = (latents / model.vae.scaling_factor + model.vae.shift_factor).to(vae.dtype);
  const at::Tensor pixels = tile > 0 ? vae.part.decode_tiled(scaled, tile) : vae.part.decode(scaled);
  return pixels.to(at::kFloat).div(2).add(0.5).clamp(0, 1);
}

ConditionalModel network_of(const Loaded<Dit>& transformer, bool variance) {
  return [&transformer, variance](const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& classes) {
    const at::Tensor out = transformer.part(x.to(transformer.dtype), timesteps, classes);
    return variance ? out : out.narrow(1, 0, x.size(1));
  };
}

DitRenderer::DitRenderer(const Job& like)
    : device_(open_device(like.device)), model_(open_dit_model(like.model, options_of(like))), dtype_(like.dtype) {}

Job DitRenderer::complete(const Job& job, std::vector<std::string>& notes) const {
  const Job done =
      complete_job(job, model_, job.latents.empty() ? at::Tensor() : read_latents(job.latents, model_), notes);
  if (done.class_label->find(',') != std::string::npos)
    throw Error("class " + *job.class_label + ": an entry makes one picture; write one for each class, or use " +
                "\"grid\": {\"class\": [...]}");
  return done;
}

void DitRenderer::check_weights() const {
  tessera::check_weights(model_);
}

int64_t DitRenderer::calls(const Job& job) const {
  return sampler_of(job, model_)->calls();
}

std::string DitRenderer::shape(const Job& job) const {
  return std::to_string(calls(job)) + (takes_variance(job, model_) ? " with variance" : "");
}

SampleTask DitRenderer::task(const Job& job, const at::Tensor& noise) const {
  const auto draw = noise_source(static_cast<uint64_t>(job.seed));
  const int64_t size = model_.transformer.sample_size;
  SampleTask task;
  task.noise = (noise.defined() ? noise : draw({1, model_.transformer.in_channels, size, size})).to(device_);
  task.sampler = sampler_of(job, model_);
  task.sampler->set_noise(draw);
  task.guidance = guidance_of(job, model_);
  const auto label = [&](int64_t number) {
    return at::full({1}, number, at::TensorOptions().dtype(at::kLong).device(device_));
  };
  task.positive = label(class_number(job));
  if (*job.cfg_scale > 1) task.negative = label(model_.class_count());
  task.step_cache = job.step_cache.value_or(0.0);
  return task;
}

std::vector<SampleResult> DitRenderer::sample(std::vector<SampleTask>& tasks, bool variance, TogetherLimit& limit,
                                              Progress& progress) {
  if (!transformer_) transformer_ = load_transformer(model_, dtype_, device_);
  return sample_together(tasks, network_of(*transformer_, variance), limit, [&] { progress.advance(); });
}

std::vector<SampleResult> DitRenderer::denoise(std::span<const Job* const> jobs, TogetherLimit& limit,
                                               Progress& progress) {
  std::vector<SampleTask> tasks;
  for (const Job* job : jobs)
    tasks.push_back(task(*job, job->latents.empty() ? at::Tensor() : read_latents(job->latents, model_)));
  return sample(tasks, takes_variance(*jobs.front(), model_), limit, progress);
}

std::string DitRenderer::decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) {
  if (!vae_) vae_ = load_vae(model_, dtype_, device_);
  const at::Tensor picture = decode_latents(model_, *vae_, latents.to(device_), job.vae_tile.value_or(0)).cpu();
  FrameCheck check;
  check.add(picture.unsqueeze(2));
  if (!check.problem().empty()) return check.problem();
  throw_if_canceled();
  writer.write(picture.select(0, 0));
  progress.advance();
  writer.finish();
  return "";
}

namespace {

/// Seconds since `last`, which becomes now.
double lap(std::chrono::steady_clock::time_point& last) {
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - last).count();
  last = now;
  return seconds;
}

void decode_output(DitRenderer& renderer, const Job& job, const at::Tensor& latents, FrameWriter& writer,
                   Progress& progress) {
  const std::string problem = renderer.decode(job, latents, writer, progress);
  if (problem.empty()) return;
  const std::string kept = job.output + ".latents.safetensors";
  save_latents(kept, latents, job, 0);
  throw Error("the picture " + job.output + " is " + problem + "; the latents are kept in " + kept +
                  "; try --dtype fp32, another seed or a lower --cfg-scale",
              ExitCode::kBadPixels);
}

}  // namespace

void generate_classes(const Job& asked, const GenerateListener& listener) {
  const c10::InferenceMode inference;
  DitRenderer renderer(asked);
  const at::Tensor noise = asked.latents.empty() ? at::Tensor() : read_latents(asked.latents, renderer.model());
  std::vector<std::string> notes;
  const std::vector<Job> outputs = single_outputs(complete_job(asked, renderer.model(), noise, notes));
  notes.push_back("seed " + std::to_string(outputs.front().seed));
  check_free_space(outputs.front().output,
                   largest_output_bytes(outputs.front()) * static_cast<int64_t>(outputs.size()));
  auto writer = listener.tapped(open_output(outputs.front(), 0));
  if (!writer->note().empty()) notes.push_back(writer->note());
  renderer.check_weights();
  for (const std::string& note : notes) listener.note(note);

  const auto label = [&](const std::string& stage, size_t i) {
    return outputs.size() == 1 ? stage : stage + " " + std::to_string(i + 1) + "/" + std::to_string(outputs.size());
  };
  auto clock = std::chrono::steady_clock::now();
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Job& job = outputs[i];
    if (i > 0) writer = listener.tapped(open_output(job, 0));
    const auto row = static_cast<int64_t>(i);
    std::vector<SampleTask> tasks;
    tasks.push_back(renderer.task(job, noise.defined() ? noise.narrow(0, row, 1) : noise));
    TogetherLimit alone;
    SampleResult result;
    {
      Progress progress(label("denoising", i), renderer.calls(job), listener.progress);
      result = renderer.sample(tasks, takes_variance(job, renderer.model()), alone, progress).front();
    }
    if (result.failure) std::rethrow_exception(result.failure);
    if (job.step_cache) listener.note(step_cache_text(result.step_cache));
    if (i + 1 == outputs.size()) renderer.drop_transformer();
    const double denoise_seconds = lap(clock);
    Progress progress(label("decoding", i), 1, listener.progress);
    decode_output(renderer, job, result.sample, *writer, progress);
    listener.done(
        {job.output, output_files(job, 0), output_recipe(job, 0), 0, denoise_seconds, lap(clock), result.step_cache});
  }
}

std::vector<std::string> decode_class_latents(const Job& recipe, const std::string& path, ProgressStyle progress,
                                              const std::function<void(const std::string&)>& note) {
  DitRenderer renderer(recipe);
  const at::Tensor latents = read_latents(path, renderer.model());
  check_latents(latents, recipe, renderer.model(), 1);
  std::vector<std::string> notes;
  const Job job = renderer.complete(recipe, notes);
  check_free_space(job.output, largest_output_bytes(job));
  const auto writer = open_output(job, 0);
  for (const std::string& text : notes) note(text);
  Progress bar("decoding", 1, progress);
  const std::string problem = renderer.decode(job, latents, *writer, bar);
  if (!problem.empty())
    throw Error("the picture " + job.output + " is " + problem + "; try --dtype fp32, or render it with another seed",
                ExitCode::kBadPixels);
  return output_files(job, 0);
}

}  // namespace tessera
