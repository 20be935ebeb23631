#include "batch/plan.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/sha256.h"
#include "core/version.h"
#include "media/frame_writer.h"
#include "pipelines/untrained.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string in_lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// The name that the output has before the model has decided the number of frames; "" leaves it to that.
std::string asked_name(const PromptJob& prompt, const std::string& format) {
  if (!prompt.job.output.empty()) return prompt.job.output;
  if (format == "frames") return prompt.id + "/%04d.png";
  return format.empty() ? "" : prompt.id + "." + format;
}

BatchJob complete(const PromptJob& prompt, const Renderer& renderer, const fs::path& folder, const std::string& format,
                  const std::string& model_hash, std::vector<std::string>& notes) {
  BatchJob made{.id = prompt.id, .job = prompt.job, .name = asked_name(prompt, format), .hash = ""};
  made.job.output = made.name;
  const at::Tensor latents = made.job.latents.empty() ? at::Tensor() : renderer.read_latents(made.job.latents);
  made.job = renderer.resolve(made.job, latents, notes);
  if (renderer.single_outputs(made.job).size() != 1)
    throw Error("class " + *prompt.job.class_label + ": an entry makes one picture; write one for each class, or use " +
                "\"grid\": {\"class\": [...]}");
  if (made.name.empty()) made.name = prompt.id + (*made.job.frames == 1 ? ".png" : ".mp4");
  made.job.output = (folder / made.name).string();
  made.hash = job_hash(made.job, made.name, model_hash);
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

std::string job_hash(const Job& job, const std::string& name, const std::string& model_hash) {
  nlohmann::ordered_json recipe = recipe_json(job);
  recipe.erase("model");
  nlohmann::ordered_json whole = {
      {"recipe", recipe}, {"output", name}, {"model", model_hash}, {"version", program_version()}};
  if (!job.latents.empty()) {
    Sha256 noise;
    const std::string file = fs::exists(job.latents) ? job.latents : job.latents.substr(0, job.latents.rfind(':'));
    noise.update_file(file);
    whole["latents"] = noise.hex();
  }
  return sha256(whole.dump());
}

BatchPlan plan_batch(const PromptFile& prompts, const Renderer& renderer, const fs::path& path, const fs::path& folder,
                     const std::string& format, const std::string& model_hash) {
  if (!format.empty() && format != "frames") output_kind("x." + format);
  BatchPlan plan;
  plan.notes = prompts.notes;
  Mistakes mistakes;
  std::map<std::string, std::string> owners;  // output in lower case -> id
  Untrained untrained(renderer.folder());
  for (const PromptJob& prompt : prompts.jobs) {
    try {
      BatchJob job = complete(prompt, renderer, folder, format, model_hash, plan.notes);
      const auto [owner, fresh] = owners.try_emplace(in_lower_case(job.name), job.id);
      if (!fresh) throw Error("the output " + job.name + " is also that of \"" + owner->second + "\"");
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
