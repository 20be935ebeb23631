#include "pipelines/renderer.h"

#include "checkpoints/bundled_model.h"
#include "checkpoints/hub_cache.h"
#include "core/device.h"
#include "core/error.h"
#include "pipelines/families/families.h"
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

LatentPainter Renderer::painter(const std::string&) const {
  throw Error(folder().path.string() + " has no previews: they are for text-to-video models; omit --preview");
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

}  // namespace tessera
