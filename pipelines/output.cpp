#include "pipelines/output.h"

#include "core/text.h"
#include "pipelines/recipe.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

constexpr int64_t kSurroundings = 16384;  // headers, recipe, a block or two

}  // namespace

int64_t largest_output_bytes(const Job& job) {
  const int64_t pixels = 3 * *job.width * *job.height * *job.frames;
  if (output_kind(job.output) == OutputKind::kVideo) return job.count * (pixels / 4 + kSurroundings);
  return job.count * (pixels + *job.frames * kSurroundings);
}

std::string replacement_note(std::span<const Job> jobs) {
  constexpr size_t kShown = 3, kMostLookedAt = 10000;  // files; a job may have a hundred million
  std::vector<std::string> existing;
  std::error_code failed;
  size_t looked_at = 0;
  for (const Job& job : jobs) {
    if (looked_at >= kMostLookedAt) break;
    for (const std::string& file : output_files(job))
      if (++looked_at <= kMostLookedAt && std::filesystem::is_regular_file(file, failed)) existing.push_back(file);
  }
  if (existing.empty()) return "";
  if (existing.size() == 1) return existing.front() + " exists and will be replaced";
  const std::vector<std::string> shown(
      existing.begin(), existing.begin() + static_cast<std::ptrdiff_t>(std::min(existing.size(), kShown)));
  const size_t more = existing.size() - shown.size();
  return std::to_string(existing.size()) + " files exist and will be replaced: " + joined(shown) +
         (more > 0 ? " and " + std::to_string(more) + " more" : "");
}

std::unique_ptr<FrameWriter> open_output(const Job& job, const Tiling& tiling) {
  OutputOptions options;
  options.width = *job.width * tiling.columns;
  options.height = *job.height * tiling.rows;
  options.fps = job.fps.value_or(FrameRate{1, 1});
  nlohmann::ordered_json recipe = output_recipe(job);
  if (tiling.columns * tiling.rows > 1) recipe["tiling"] = {tiling.columns, tiling.rows};
  options.comment = recipe.dump();
  options.text = {{"parameters", recipe_text(job)}, {"tessera", options.comment}};
  return open_frame_writer(job.output, options);
}

std::vector<std::string> output_files(const Job& job) {
  if (output_kind(job.output) != OutputKind::kFrames) return {single_file(job.output).string()};
  std::vector<std::string> files;
  for (int64_t t = 0; t < *job.frames; ++t) files.push_back(frame_path(job.output, t).string());
  return files;
}

void save_latents(const std::string& path, const at::Tensor& latents, const Job& job, const std::string& hash) {
  std::map<std::string, std::string> metadata = {{"tessera", output_recipe(job).dump()}};
  if (!hash.empty()) metadata["hash"] = hash;
  write_safetensors(path, {{"latents", latents.cpu()}}, metadata);
}

}  // namespace tessera
