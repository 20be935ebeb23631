#include "pipelines/renderer.h"

#include <chrono>

#include "pipelines/bundled_model.h"
#include "pipelines/class_to_image.h"
#include "pipelines/wan_renderer.h"

namespace tessera {

std::unique_ptr<Renderer> open_renderer(const Job& like) {
  const at::Device device = open_device(like.device);
  if (!like.model.empty() && is_dit_model(like.model)) return std::make_unique<DitRenderer>(like);
  const std::filesystem::path folder = like.model.empty() ? find_bundled_model() : std::filesystem::path(like.model);
  return std::make_unique<WanRenderer>(folder, like.dtype, device);
}

double seconds_per_call(Renderer& renderer, const Job& job) {
  Job once = job;
  once.steps = 1;
  once.sigmas.reset();
  once.step_cache.reset();
  const Job* const jobs[] = {&once};
  const int64_t calls = renderer.calls(once);
  double seconds = 0;
  for (int round = 0; round < 2; ++round) {  // the first one also warms up
    const auto start = std::chrono::steady_clock::now();
    Progress silent("", calls, ProgressStyle::kNone);
    TogetherLimit alone;
    const auto results = renderer.denoise(jobs, alone, silent);
    if (results.front().failure) std::rethrow_exception(results.front().failure);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return seconds / static_cast<double>(calls);
}

}  // namespace tessera
