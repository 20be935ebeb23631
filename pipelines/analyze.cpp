#include "pipelines/analyze.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <filesystem>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/new_folders.h"
#include "core/text.h"
#include "media/image_io.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::set<int64_t> calls_to_watch(const std::vector<int64_t>& asked, int64_t calls) {
  constexpr int64_t kWatched = 5;
  std::set<int64_t> watched(asked.begin(), asked.end());
  for (const int64_t call : watched)
    if (call < 1 || call > calls)
      throw Error("--calls " + std::to_string(call) + ": the sampler calls the network " + counted(calls, "time") +
                  "; want numbers from 1 to " + std::to_string(calls));
  for (int64_t i = 0; asked.empty() && i < kWatched; ++i) watched.insert(1 + i * (calls - 1) / (kWatched - 1));
  return watched;
}

Job only_output(const Renderer& renderer, const Job& job) {
  const std::vector<Job> outputs = renderer.single_outputs(job);
  if (outputs.size() != 1) throw Error("analyze looks at one sample; omit --count and name one class");
  return outputs.front();
}

}  // namespace

at::Tensor map_picture(const at::Tensor& values) {
  constexpr int64_t kWanted = 384, kLargestSquare = 24;  // pixels
  const at::Tensor scaled = values / values.abs().max().clamp_min(1e-30);
  const at::Tensor above = scaled.clamp_min(0), below = (-scaled).clamp_min(0);
  const at::Tensor colors =
      at::stack({1 - above - 0.2 * below, 1 - 0.7 * above - below, 1 - 0.2 * above - below}).clamp(0, 1);
  const int64_t square = std::clamp<int64_t>(kWanted / std::max(values.size(0), values.size(1)), 1, kLargestSquare);
  return colors.repeat_interleave(square, 1).repeat_interleave(square, 2);
}

std::vector<std::string> analyze(const AnalysisRequest& request, ProgressStyle progress, const Renderer::Note& note) {
  const c10::InferenceMode no_gradients;
  const auto renderer = open_renderer(request.job);
  Job asked = request.job;
  asked.output.clear();
  std::vector<std::string> notes;
  const Job job = only_output(*renderer, renderer->resolve(asked, {}, notes));
  const int64_t calls = renderer->calls(job);
  AttentionAnalysis analysis({calls_to_watch(request.calls, calls), request.token});
  const fs::path folder = request.job.output;
  const NewFolders folders(folder / "index.html");
  for (const std::string& line : notes) note(line);
  const Job* const jobs[] = {&job};
  renderer->prepare(jobs, note);
  renderer->watch(&analysis);
  Progress bar("analyzing", calls, progress);
  denoise_alone(*renderer, {&job}, bar);
  std::vector<std::string> files = {(folder / "index.html").string(), (folder / "analysis.json").string()};
  for (const AnalysisMap& map : analysis.maps()) {
    files.push_back((folder / (map.name + ".png")).string());
    write_png(files.back(), map_picture(map.values));
  }
  write_file_atomically(files[1], analysis_json(job, analysis).dump(2) + "\n");
  write_file_atomically(files[0], analysis_page(job, analysis));
  return files;
}

}  // namespace tessera
