#include "pipelines/renderer.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>

#include "checkpoints/bundled_model.h"
#include "checkpoints/hub_cache.h"
#include "core/atomic_file.h"
#include "core/clock.h"
#include "core/device.h"
#include "pipelines/families/families.h"
#include "pipelines/output.h"
#include "pipelines/recipe.h"

namespace tessera {

std::string normalizer_text(const NormalizerReport& report) {
  if (report.near_zero == 0) return "";
  return std::to_string(report.near_zero) + " of " + std::to_string(report.values) +
         " MHLA normalizers were nearly zero and were clamped; " + std::to_string(report.negative) + " were negative";
}

nlohmann::ordered_json to_json(const NormalizerReport& report) {
  return {{"values", report.values}, {"near_zero", report.near_zero}, {"negative", report.negative}};
}

nlohmann::ordered_json to_json(const StepCacheReport& report) {
  return {{"calls", report.calls},
          {"reused", report.reused},
          {"mean_change", report.mean_change},
          {"largest_change", report.largest_change}};
}

std::vector<Job> Renderer::single_outputs(const Job& job) const {
  std::vector<Job> singles;
  for (int64_t i = 0; i < job.count; ++i) {
    Job single = job;
    single.output = output_name(job, i);
    single.seed = job.seed + i;
    single.count = 1;
    singles.push_back(std::move(single));
  }
  return singles;
}

std::unique_ptr<Renderer> open_renderer(const Job& like) {
  open_device(like.device);  // before any tensor is made
  const std::filesystem::path folder = like.model.empty() ? find_bundled_model() : resolve_hub_cache(like.model);
  return family_of(folder, families(), model_options(like)).open(folder, like);
}

DenoiseResult denoise_alone(Renderer& renderer, const DenoiseRequest& request, Progress& progress) {
  BatchLimit alone;
  DenoiseResult result = renderer.denoise({&request, 1}, alone, progress).front();
  if (result.failure) std::rethrow_exception(result.failure);
  return result;
}

namespace {

/// A folder for trial outputs, gone at the end.
class TrialFolder {
 public:
  TrialFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tessera_trial_XXXXXX").string();
    if (!mkdtemp(name.data())) throw write_error(name, errno);
    path_ = name;
  }
  ~TrialFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TrialFolder(const TrialFolder&) = delete;
  TrialFolder& operator=(const TrialFolder&) = delete;

  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

at::Tensor denoise_silently(Renderer& renderer, const Job& job) {
  Progress silent("", renderer.calls(job), ProgressStyle::kNone);
  return denoise_alone(renderer, {.job = &job}, silent).latents;
}

/// Seconds of decoding and writing the first `frames` frames.
double time_decoding(Renderer& renderer, Job job, int64_t frames, const TrialFolder& folder) {
  job.frames = frames;
  job.latents.clear();
  const bool pictures = output_kind(job.output) == OutputKind::kFrames;
  job.output = folder / (pictures ? "%04d.png" : "trial" + std::filesystem::path(job.output).extension().string());
  const at::Tensor latents = denoise_silently(renderer, job);
  double seconds = 0;
  for (int round = 0; round < 2; ++round) {  // the first one also warms up
    const Stopwatch watch;
    Progress silent("", frames, ProgressStyle::kNone);
    const auto writer = open_output(job, 0);
    renderer.decode(job, latents, *writer, silent);
    seconds = watch.seconds();
  }
  return seconds;
}

}  // namespace

Timing time_job(Renderer& renderer, const Job& job) {
  constexpr int64_t kMostFrames = 17, kSomeFrames = 9;
  Job once = job;
  once.steps = 1;
  once.sigmas.reset();
  once.timestep_respacing.reset();
  once.step_cache.reset();
  denoise_silently(renderer, once);  // warms up
  const Stopwatch watch;
  denoise_silently(renderer, once);
  Timing timing{watch.seconds() / static_cast<double>(renderer.calls(once)), 0};
  const TrialFolder folder;
  if (*job.frames <= kMostFrames) {
    timing.decode = time_decoding(renderer, once, *job.frames, folder);
  } else {
    const double first = time_decoding(renderer, once, 1, folder);
    const double some = time_decoding(renderer, once, kSomeFrames, folder);
    timing.decode = first + std::max(0.0, some - first) * static_cast<double>(*job.frames - 1) / (kSomeFrames - 1);
  }
  return timing;
}

}  // namespace tessera
