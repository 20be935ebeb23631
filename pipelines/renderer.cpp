#include "pipelines/renderer.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>

#include "checkpoints/bundled_model.h"
#include "core/atomic_file.h"
#include "core/clock.h"
#include "pipelines/families/dit/renderer.h"
#include "pipelines/families/wan/renderer.h"
#include "pipelines/output.h"

namespace tessera {

std::unique_ptr<Renderer> open_renderer(const Job& like) {
  const at::Device device = open_device(like.device);
  if (!like.model.empty() && is_dit_model(like.model)) return std::make_unique<DitRenderer>(like);
  const std::filesystem::path folder = like.model.empty() ? find_bundled_model() : std::filesystem::path(like.model);
  return std::make_unique<WanRenderer>(folder, like.dtype, device);
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

at::Tensor denoise_alone(Renderer& renderer, const Job& job) {
  const Job* const jobs[] = {&job};
  TogetherLimit alone;
  Progress silent("", renderer.calls(job), ProgressStyle::kNone);
  const auto results = renderer.denoise(jobs, alone, silent);
  if (results.front().failure) std::rethrow_exception(results.front().failure);
  return results.front().sample;
}

/// Seconds of decoding and writing the first `frames` frames.
double time_decoding(Renderer& renderer, Job job, int64_t frames, const TrialFolder& folder) {
  job.frames = frames;
  job.latents.clear();
  const bool pictures = output_kind(job.output) == OutputKind::kFrames;
  job.output = folder / (pictures ? "%04d.png" : "trial" + std::filesystem::path(job.output).extension().string());
  const at::Tensor latents = denoise_alone(renderer, job);
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
  once.step_cache.reset();
  denoise_alone(renderer, once);  // warms up
  const Stopwatch watch;
  denoise_alone(renderer, once);
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
