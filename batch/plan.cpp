#include "batch/plan.h"

#include <algorithm>
#include <map>

#include "batch/output_names.h"
#include "batch/refusals.h"
#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/version.h"
#include "media/frame_writer.h"
#include "pipelines/untrained.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// As many mistakes as are shown; of further jobs only the first one is looked for.
constexpr size_t kMostExplained = 100;

/// The output path that names a file after an id.
std::string named_after(const std::string& id, const std::string& extension) {
  const fs::path path = id;
  return (path.parent_path() / (literal_name(path.filename().string()) + extension)).string();
}

/// The name that the output has before the model has decided the number of frames; "" leaves it to that.
std::string asked_name(const PromptJob& prompt, const std::string& format) {
  if (!prompt.job.output.empty()) return prompt.job.output;
  if (format == "frames") return prompt.id + "/%04d.png";
  return format.empty() ? "" : named_after(prompt.id, "." + format);
}

/// Throws Error for what the model refuses.
Job resolved(const Job& job, const Renderer& renderer, std::vector<std::string>& notes) {
  const at::Tensor latents = job.latents.empty() ? at::Tensor() : renderer.read_latents(job.latents);
  Job made = renderer.resolve(job, latents, notes);
  if (renderer.single_outputs(made).size() != 1)
    throw Error("class " + *job.class_label + ": an entry makes one picture; write one for each class, or use " +
                "\"grid\": {\"class\": [...]}");
  return made;
}

/// All that the model refuses in a job.
std::vector<std::string> refusals_of(const PromptJob& prompt, const Renderer& renderer, const std::string& format) {
  Job asked = prompt.job;
  asked.output = asked_name(prompt, format);
  return all_refusals(asked, [&](const Job& job) {
    std::vector<std::string> ignored;
    resolved(job, renderer, ignored);
  });
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
                  const Layout& layout, std::vector<std::string>& notes) {
  Job asked = prompt.job;
  asked.output = asked_name(prompt, format);
  BatchJob made{.id = prompt.id,
                .job = resolved(asked, renderer, notes),
                .name = "",
                .hash = "",
                .metadata = prompt.metadata,
                .tiles = prompt.tiles,
                .side_file = prompt.side_file};
  if (asked.output.empty()) asked.output = named_after(prompt.id, *made.job.frames == 1 ? ".png" : ".mp4");
  made.name = single_file(asked.output).string();
  made.job.output = (folder / asked.output).string();
  for (Job& tile : made.tiles) {
    tile.output = asked.output;
    tile = resolved(tile, renderer, notes);
  }
  if (layout.tiled) check_tiles(made, renderer, layout);
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
    if (recipe.contains("loras"))
      for (auto& lora : recipe["loras"]) lora.erase("path");  // its sha256 stays
    for (const char* picture : {"image", "last_image"})
      if (recipe.contains(picture)) recipe[picture].erase("path");  // likewise
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

BatchPlan plan_batch(const PromptFile& prompts, const Renderer& renderer, const fs::path& folder,
                     const std::string& format, const Layout& layout, const std::function<std::string()>& model_hash) {
  if (!format.empty() && format != "frames") output_kind("x." + format);
  BatchPlan plan;
  plan.notes = prompts.notes;
  Mistakes mistakes = prompts.mistakes;
  OutputNames names;
  Untrained untrained(renderer.folder());
  for (const PromptJob& prompt : prompts.jobs) {
    try {
      BatchJob job = complete(prompt, renderer, folder, format, layout, plan.notes);
      if (prompt.faulty) continue;
      if (!layout.output)  // a layout's own names differ, if in case alone
        names.claim(job.name, output_kind(job.job.output) == OutputKind::kFrames, job.id);
      untrained.add(job.job);
      plan.jobs.push_back(std::move(job));
    } catch (const Error& error) {
      std::vector<std::string> refusals;
      if (mistakes.size() < kMostExplained) refusals = refusals_of(prompt, renderer, format);
      if (refusals.empty()) refusals = {error.what()};
      for (const std::string& refusal : refusals) mistakes.add(prompt.line, refusal);
    }
  }
  mistakes.throw_if_any(prompts.name);
  for (const std::string& note : untrained.notes()) plan.notes.push_back(note);
  const std::string hash = model_hash();
  for (BatchJob& job : plan.jobs) job.hash = job_hash(job, hash);
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
