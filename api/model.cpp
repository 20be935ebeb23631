#include <c10/core/InferenceMode.h>
#include <tessera/tessera.h>

#include "api/translated.h"
#include "core/cancel.h"
#include "core/disk_space.h"
#include "core/new_folders.h"
#include "core/version.h"
#include "media/image_io.h"
#include "pipelines/output.h"
#include "pipelines/renderer.h"
#include "pipelines/untrained.h"

namespace tessera::api {
namespace {

Job job_of(Job job, const Settings& settings) {
  for (const auto& [name, value] : settings) set_job_option(job, find_job_option(name), value);
  return job;
}

/// Hands frames out instead of writing them.
class FrameTaker : public FrameWriter {
 public:
  FrameTaker(const Job& job, const std::function<void(const Frame&)>& take)
      : take_(take), next_{nullptr, *job.width,  *job.height,
                           0,       *job.frames, job.fps.value_or(FrameRate{1, 1}).value()} {}

  void write(const at::Tensor& frame) override {
    const at::Tensor bytes = to_bytes(frame);
    next_.rgb = bytes.const_data_ptr<uint8_t>();
    take_(next_);
    ++next_.index;
  }
  void finish() override {}

 private:
  const std::function<void(const Frame&)>& take_;
  Frame next_;
};

}  // namespace

std::string version() {
  return program_version();
}

class Model::Opened {
 public:
  explicit Opened(const Settings& settings) : defaults_(job_of({}, settings)), renderer_(open_renderer(defaults_)) {
    renderer_->check_weights();
  }

  /// The job's one output, resolved.
  Job resolve(const Settings& settings, const std::string& output, const Callbacks& callbacks) const {
    Job job = job_of(defaults_, settings);
    if (job.model != defaults_.model || job.vae != defaults_.vae || job.block_size != defaults_.block_size ||
        job.device != defaults_.device || job.dtype != defaults_.dtype)
      throw tessera::Error("model, vae, block-size, device and dtype are set when a Model is opened; open another one");
    if (!output.empty()) job.output = output;
    const at::Tensor noise = job.latents.empty() ? at::Tensor() : renderer_->read_latents(job.latents);
    std::vector<std::string> notes;
    const std::vector<Job> outputs = renderer_->single_outputs(renderer_->resolve(job, noise, notes));
    if (outputs.size() != 1)
      throw tessera::Error("the job has " + std::to_string(outputs.size()) +
                           " outputs, and the library renders one a call; give each its own seed or class");
    Untrained untrained(renderer_->folder());
    untrained.add(outputs.front());
    for (const std::string& note : untrained.notes()) notes.push_back(note);
    notes.push_back("seed " + outputs.front().seed.text());
    for (const std::string& note : notes) tell(callbacks, note);
    return outputs.front();
  }

  void render(const Job& job, FrameWriter& writer, const Callbacks& callbacks) {
    const Job* const jobs[] = {&job};
    renderer_->prepare(jobs, [&](const std::string& note) { tell(callbacks, note); });
    Progress denoising = progress_of(callbacks, "denoising", renderer_->calls(job));
    const DenoiseResult result = denoise_alone(*renderer_, {.job = &job}, denoising);
    if (job.step_cache) tell(callbacks, step_cache_text(result.step_cache));
    tell(callbacks, normalizer_text(result.normalizers));
    Progress decoding = progress_of(callbacks, "decoding", *job.frames);
    const FrameProblem problem = renderer_->decode(job, result.latents, writer, decoding);
    if (problem != FrameProblem::kNone)
      throw tessera::Error(
          "the frames are " + problem_text(problem) + "; try dtype fp32, another seed or a lower cfg-scale",
          ExitCode::kBadPixels);
  }

 private:
  static void tell(const Callbacks& callbacks, const std::string& note) {
    if (callbacks.note && !note.empty()) callbacks.note(note);
  }

  static Progress progress_of(const Callbacks& callbacks, const std::string& stage, int64_t total) {
    if (!callbacks.progress) return {total, nullptr};
    return {total, [&callbacks, stage, total](int64_t done) { callbacks.progress(stage, done, total); }};
  }

  Job defaults_;
  std::unique_ptr<Renderer> renderer_;
};

Model::Model(const Settings& settings) : opened_(translated([&] { return std::make_unique<Opened>(settings); })) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

std::vector<std::string> Model::render(const Settings& settings, const Callbacks& callbacks) {
  return translated([&] {
    const c10::InferenceMode inference;
    const CancelScope scope(callbacks.canceled);
    const Job job = opened_->resolve(settings, "", callbacks);
    const NewFolders folders(job.output);
    check_free_space(job.output, largest_output_bytes(job));
    const auto writer = open_output(job);
    opened_->render(job, *writer, callbacks);
    return output_files(job);
  });
}

void Model::render(const Settings& settings, const std::function<void(const Frame&)>& take,
                   const Callbacks& callbacks) {
  translated([&] {
    const c10::InferenceMode inference;
    const CancelScope scope(callbacks.canceled);
    const Job job = opened_->resolve(settings, "%06d.png", callbacks);
    FrameTaker taker(job, take);
    opened_->render(job, taker, callbacks);
  });
}

}  // namespace tessera::api
