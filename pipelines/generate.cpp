#include "pipelines/generate.h"

#include <c10/core/InferenceMode.h>

#include <optional>
#include <utility>

#include "core/clock.h"
#include "core/device.h"
#include "core/disk_space.h"
#include "core/error.h"
#include "core/new_folders.h"
#include "core/text.h"
#include "core/transfer.h"
#include "pipelines/file_recipe.h"
#include "pipelines/latents.h"
#include "pipelines/output.h"
#include "pipelines/recipe.h"
#include "pipelines/untrained.h"

namespace tessera {
namespace {

/// A job on its way through a renderer, output by output.
class Generation {
 public:
  Generation(const Job& asked, const GenerateCallbacks& callbacks)
      : callbacks_(callbacks),
        device_(open_device(asked.device)),
        renderer_(open_renderer(asked)),
        noise_(asked.latents.empty() ? at::Tensor() : renderer_->read_latents(asked.latents)) {
    const Job job = renderer_->resolve(asked, noise_, notes_);
    outputs_ = renderer_->single_outputs(job);
    if (std::string note = replacement_note(outputs_); !note.empty()) notes_.push_back(std::move(note));
    Untrained untrained(renderer_->folder());
    for (const Job& output : outputs_) untrained.add(output);
    for (const std::string& note : untrained.notes()) notes_.push_back(note);
    notes_.push_back("seed " + job.seed.text());
  }

  void run() {
    const Job& first = outputs_.front();
    const NewFolders folders(first.output);
    check_free_space(first.output, largest_output_bytes(first) * static_cast<int64_t>(outputs_.size()));
    auto writer = open_writer(first);
    if (!writer->note().empty()) notes_.push_back(writer->note());
    if (callbacks_.preview.every > 0) {
      painter_ = renderer_->painter(callbacks_.preview.decoder);
      open_previews(first);
      notes_.push_back("previews in " + preview_path(first.output).string() + ", every " +
                       counted(callbacks_.preview.every, "step"));
    }
    renderer_->check_weights();
    const double text_seconds = prepare();
    const int64_t text_bytes = peak_of_stage();
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Job& job = outputs_[i];
      if (i > 0) writer = open_writer(job);
      if (i > 0) open_previews(job);
      const Stopwatch denoising;
      const DenoiseResult result = denoise(i);
      const double denoise_seconds = denoising.seconds();
      const int64_t denoise_bytes = peak_of_stage();
      if (i + 1 == outputs_.size()) renderer_->release_denoiser();
      const Stopwatch decoding;
      decode(i, result.latents, *writer);
      if (previews_) previews_->output_done();
      callbacks_.done({.path = single_file(job.output).string(),
                       .files = output_files(job),
                       .recipe = output_recipe(job),
                       .text_seconds = text_seconds,
                       .denoise_seconds = denoise_seconds,
                       .decode_seconds = decoding.seconds(),
                       .text_bytes = text_bytes,
                       .denoise_bytes = denoise_bytes,
                       .decode_bytes = peak_of_stage(),
                       .step_cache = result.step_cache,
                       .normalizers = result.normalizers});
    }
  }

 private:
  /// The most bytes of the GPU since the last call.
  int64_t peak_of_stage() const {
    const int64_t bytes = peak_memory(device_);
    reset_peak_memory(device_);
    return bytes;
  }

  std::unique_ptr<FrameWriter> open_writer(const Job& job) const {
    auto writer = open_output(job);
    return callbacks_.tap ? callbacks_.tap(std::move(writer)) : std::move(writer);
  }

  void open_previews(const Job& job) {
    if (painter_) previews_.emplace(job.output, callbacks_.preview.every, painter_, callbacks_.note);
  }

  /// Encodes what the outputs show; returns how long it took. Refusals of the input come before the notes, so that a
  /// refusal is one line.
  double prepare() {
    const Stopwatch watch;
    const auto tell = [&](const std::string& text) {
      for (const std::string& earlier : notes_) callbacks_.note(earlier);
      notes_.clear();
      if (!text.empty()) callbacks_.note(text);
    };
    std::vector<const Job*> jobs;
    for (const Job& job : outputs_) jobs.push_back(&job);
    renderer_->prepare(jobs, tell);
    tell("");
    return watch.seconds();
  }

  DenoiseResult denoise(size_t i) {
    const Job& job = outputs_[i];
    const auto row = static_cast<int64_t>(i);
    Progress progress(label("denoising", i), renderer_->calls(job), callbacks_.progress);
    DenoiseRequest request{.job = &job, .noise = noise_.defined() ? noise_.narrow(0, row, 1) : noise_};
    if (previews_) request.on_data = [&](int64_t done, const at::Tensor& data) { previews_->show(done, data); };
    DenoiseResult result = denoise_alone(*renderer_, request, progress);
    if (job.step_cache) callbacks_.note(step_cache_text(result.step_cache));
    if (const std::string text = normalizer_text(result.normalizers); !text.empty()) callbacks_.note(text);
    return result;
  }

  void decode(size_t i, const at::Tensor& latents, FrameWriter& writer) {
    const Job& job = outputs_[i];
    Progress progress(label("decoding", i), *job.frames, callbacks_.progress);
    const FrameProblem problem = renderer_->decode(job, latents, writer, progress);
    if (problem == FrameProblem::kNone) return;
    const std::string file = single_file(job.output).string(), kept = file + ".latents.safetensors";
    save_latents(kept, latents, job);
    throw Error("the frames of " + file + " are " + problem_text(problem) + "; the latents are kept in " + kept +
                    "; try --dtype fp32, another seed or a lower --cfg-scale",
                ExitCode::kBadPixels);
  }

  std::string label(const std::string& stage, size_t i) const {
    if (outputs_.size() == 1) return stage;
    return stage + " " + std::to_string(i + 1) + "/" + std::to_string(outputs_.size());
  }

  const GenerateCallbacks& callbacks_;
  at::Device device_;
  std::unique_ptr<Renderer> renderer_;
  at::Tensor noise_;  // a row for each output; undefined: from the seeds
  std::vector<std::string> notes_;
  std::vector<Job> outputs_;
  LatentPainter painter_;  // empty: no previews
  std::optional<Previews> previews_;
};

}  // namespace

void generate(const Job& job, const GenerateCallbacks& callbacks) {
  open_device(job.device);  // before the first tensor
  const c10::InferenceMode inference;
  Generation(job, callbacks).run();
}

std::vector<std::string> decode_file(const DecodeRequest& request, ProgressStyle progress, const Renderer::Note& note) {
  open_device(request.device);
  const c10::InferenceMode inference;
  Job asked = read_file_recipe(request.latents).job;
  if (!request.model.empty()) asked.model = request.model;
  asked.output = request.output;
  asked.device = request.device;
  if (request.dtype != "auto") asked.dtype = request.dtype;
  if (!request.vae_tile.empty()) set_job_option(asked, find_job_option("vae-tile"), request.vae_tile);
  const auto renderer = open_renderer(asked);
  const at::Tensor latents = renderer->read_latents(request.latents);
  std::vector<std::string> notes;
  const std::vector<LoraUse> loras = std::exchange(asked.loras, {});  // told in the recipe, not needed to decode
  Job job = renderer->resolve(asked, latents, notes);
  job.loras = loras;
  if (std::string replaced = replacement_note({&job, 1}); !replaced.empty()) notes.push_back(std::move(replaced));
  const NewFolders folders(job.output);
  check_free_space(job.output, largest_output_bytes(job));
  const auto writer = open_output(job);
  for (const std::string& text : notes) note(text);
  Progress bar("decoding", *job.frames, progress);
  const FrameProblem problem = renderer->decode(job, latents, *writer, bar);
  if (problem != FrameProblem::kNone)
    throw Error("the frames of " + job.output + " are " + problem_text(problem) +
                    "; try --dtype fp32, or render it with another seed",
                ExitCode::kBadPixels);
  return output_files(job);
}

}  // namespace tessera
