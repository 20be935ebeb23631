#include "batch/plan.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/version.h"
#include "media/frame_writer.h"
#include "pipelines/untrained.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// The name that the output has before the model has decided the number of frames; "" leaves it to that.
std::string asked_name(const PromptJob& prompt, const std::string& format) {
  if (!prompt.job.output.empty()) return prompt.job.output;
  if (format == "frames") return prompt.id + "/%04d.png";
  return format.empty() ? "" : prompt.id + "." + format;
}

/// Completes a job for the model.
Job resolved(Job job, const Renderer& renderer, std::vector<std::string>& notes) {
  const at::Tensor latents = job.latents.empty() ? at::Tensor() : renderer.read_latents(job.latents);
  job = renderer.resolve(job, latents, notes);
  if (renderer.single_outputs(job).size() != 1)
    throw Error("class " + *job.class_label + ": an entry makes one picture; write one for each class, or use " +
                "\"grid\": {\"class\": [...]}");
  return job;
}

/// Throws Error when the samples of a tiled output are no squares of one size, made together.
void check_tiles(const BatchJob& made, const Renderer& renderer, const Layout& layout) {
  const auto size = [](const Job& job) { return std::to_string(*job.width) + "x" + std::to_string(*job.height); };
  if (made.job.width != made.job.height)
    throw Error(layout.benchmark + " cuts squares out of the tile, and the size is " + size(made.job) +
                "; choose a square --size");
  for (const Job& tile : made.tiles)
    if (renderer.shape(tile) != renderer.shape(made.job))
      throw Error("the samples of a tile have one size and one number of steps; give others an entry of their own");
}

BatchJob complete(const PromptJob& prompt, const Renderer& renderer, const fs::path& folder, const std::string& format,
                  const Layout& layout, const std::string& model_hash, std::vector<std::string>& notes) {
  BatchJob made{.id = prompt.id,
                .job = prompt.job,
                .name = asked_name(prompt, format),
                .hash = "",
                .tiles = prompt.tiles,
                .side_file = prompt.side_file};
  made.job.output = made.name;
  made.job = resolved(made.job, renderer, notes);
  if (made.name.empty()) made.name = prompt.id + (*made.job.frames == 1 ? ".png" : ".mp4");
  for (Job& tile : made.tiles) {
    tile.output = made.name;
    tile = resolved(tile, renderer, notes);
  }
  if (layout.tiled) check_tiles(made, renderer, layout);
  made.job.output = (folder / made.name).string();
  made.hash = job_hash(made, model_hash);
  return made;
}

}  // namespace

BatchPlan shard_of(const BatchPlan& plan, const Shard& shard) {
  BatchPlan part;
  part.notes = plan.notes;
  for (size_t at = static_cast<size_t>(shard.index); at < plan.jobs.size(); at += static_cast<size_t>(shard.count))
    part.jobs.push_back(plan.jobs[at]);
  return part;
}

std::vector<const Job*> BatchJob::samples() const {
  std::vector<const Job*> all = {&job};
  for (const Job& tile : tiles) all.push_back(&tile);
  return all;
}

std::string job_hash(const BatchJob& job, const std::string& model_hash) {
  const auto recipe_of = [](const Job& sample) {
    nlohmann::ordered_json recipe = recipe_json(sample);
    recipe.erase("model");
    return recipe;
  };
  nlohmann::ordered_json whole = {
      {"recipe", recipe_of(job.job)}, {"output", job.name}, {"model", model_hash}, {"version", program_version()}};
  for (const Job& tile : job.tiles) whole["tiles"].push_back(recipe_of(tile));
  if (const std::string& latents = job.job.latents; !latents.empty()) {
    Sha256 noise;
    noise.update_file(fs::exists(latents) ? latents : latents.substr(0, latents.rfind(':')));
    whole["latents"] = noise.hex();
  }
  return sha256(whole.dump());
}

BatchPlan plan_batch(const PromptFile& prompts, const Renderer& renderer, const fs::path& path, const fs::path& folder,
                     const std::string& format, const Layout& layout, const std::string& model_hash) {
  if (!format.empty() && format != "frames") output_kind("x." + format);
  BatchPlan plan;
  plan.notes = prompts.notes;
  Mistakes mistakes;
  std::map<std::string, std::string> owners;  // output in lower case -> id
  Untrained untrained(renderer.folder());
  for (const PromptJob& prompt : prompts.jobs) {
    try {
      BatchJob job = complete(prompt, renderer, folder, format, layout, model_hash, plan.notes);
      const auto [owner, fresh] = owners.try_emplace(in_lower_case(job.name), job.id);
      if (!fresh && !layout.output)  // a layout's own names differ, if in case alone
        throw Error("the output " + job.name + " is also that of \"" + owner->second + "\"");
      untrained.add(job.job);
      plan.jobs.push_back(std::move(job));
    } catch (const Error& e) {
      mistakes.add(prompt.line, e.what());
    }
  }
  mistakes.throw_if_any(path);
  for (const std::string& note : untrained.notes()) plan.notes.push_back(note);
  std::sort(plan.notes.begin(), plan.notes.end());
  plan.notes.erase(std::unique(plan.notes.begin(), plan.notes.end()), plan.notes.end());
  return plan;
}

void group_by_shape(BatchPlan& plan, const Renderer& renderer) {
  std::map<std::string, size_t> groups;  // shape -> its place
  std::vector<std::vector<BatchJob>> grouped;
  for (BatchJob& job : plan.jobs) {
    const auto [found, fresh] = groups.try_emplace(renderer.shape(job.job), groups.size());
    if (fresh) grouped.emplace_back();
    grouped[found->second].push_back(std::move(job));
  }
  plan.jobs.clear();
  for (std::vector<BatchJob>& jobs : grouped)
    for (BatchJob& job : jobs) plan.jobs.push_back(std::move(job));
}

}  // namespace tessera
