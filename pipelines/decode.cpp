#include "pipelines/decode.h"

#include <c10/core/InferenceMode.h>

#include "checkpoints/bundled_model.h"
#include "core/disk_space.h"
#include "core/error.h"
#include "core/job.h"
#include "pipelines/families/dit/renderer.h"
#include "pipelines/file_recipe.h"
#include "pipelines/latents.h"
#include "pipelines/output.h"
#include "pipelines/recipe.h"

namespace tessera {

std::vector<std::string> decode_file(const DecodeRequest& request, ProgressStyle progress,
                                     const std::function<void(const std::string&)>& note) {
  const c10::InferenceMode inference;
  const at::Device device = open_device(request.device);
  Job job = read_file_recipe(request.latents).job;
  if (!request.model.empty()) job.model = request.model;
  job.output = request.output;
  job.device = request.device;
  if (request.dtype != "auto") job.dtype = request.dtype;
  if (!request.vae_tile.empty()) set_job_option(job, find_job_option("vae-tile"), request.vae_tile);
  if (!job.model.empty() && is_dit_model(job.model)) return decode_class_latents(job, request.latents, progress, note);
  const WanModel model = open_wan_model(job.model.empty() ? find_bundled_model() : std::filesystem::path(job.model));
  const at::Tensor latents = read_latents(request.latents, model);
  std::vector<std::string> notes;
  job = complete_job(job, model, latents, notes);
  check_free_space(job.output, largest_output_bytes(job));
  const auto writer = open_output(job, 0);
  for (const std::string& text : notes) note(text);
  const auto vae = load_vae(model, job.dtype, device);
  Progress bar("decoding", *job.frames, progress);
  const std::string problem = decode_to(*writer, model, vae, latents.to(device), bar, job);
  if (!problem.empty())
    throw Error(
        "the frames of " + job.output + " are " + problem + "; try --dtype fp32, or render it with another seed",
        ExitCode::kBadPixels);
  return output_files(job, 0);
}

}  // namespace tessera
