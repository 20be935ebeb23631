#include "pipelines/output.h"

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

std::unique_ptr<FrameWriter> open_output(const Job& job, int64_t i, const Tiling& tiling) {
  OutputOptions options;
  options.width = *job.width * tiling.columns;
  options.height = *job.height * tiling.rows;
  options.fps = job.fps.value_or(FrameRate{1, 1});
  nlohmann::ordered_json recipe = output_recipe(job, i);
  if (tiling.columns * tiling.rows > 1) recipe["tiling"] = {tiling.columns, tiling.rows};
  options.comment = recipe.dump();
  options.text = {{"parameters", recipe_text(job, i)}, {"tessera", options.comment}};
  return open_frame_writer(output_name(job, i), options);
}

std::vector<std::string> output_files(const Job& job, int64_t i) {
  const std::string name = output_name(job, i);
  if (output_kind(name) != OutputKind::kFrames) return {single_file(name).string()};
  std::vector<std::string> files;
  for (int64_t t = 0; t < *job.frames; ++t) files.push_back(frame_path(name, t).string());
  return files;
}

void save_latents(const std::string& path, const at::Tensor& latents, const Job& job, int64_t i,
                  const std::string& hash) {
  std::map<std::string, std::string> metadata = {{"tessera", output_recipe(job, i).dump()}};
  if (!hash.empty()) metadata["hash"] = hash;
  write_safetensors(path, {{"latents", latents.cpu()}}, metadata);
}

}  // namespace tessera
