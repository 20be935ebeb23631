#include "batch/request.h"

#include <algorithm>

#include "batch/layout.h"
#include "batch/outputs.h"
#include "batch/prompt_file.h"
#include "batch/workers.h"
#include "core/device.h"

namespace tessera {
namespace {

int workers_of(const BatchRequest& request, const std::string& device) {
  if (request.workers != kWorkersByGpu) return request.workers;
  const bool any_gpu = device.find(':') == std::string::npos && open_device(device).is_cuda();
  return any_gpu ? static_cast<int>(std::max<int64_t>(1, gpu_count())) : 1;
}

/// The model, or one error with all that is known to be wrong.
std::unique_ptr<Renderer> open_model(const Job& like, PromptFile& prompts) {
  try {
    return open_renderer(like);
  } catch (const Error& error) {
    if (prompts.mistakes.size() == 0) throw;
    prompts.mistakes.add(0, error.what());
    prompts.mistakes.throw_if_any(prompts.name);
    throw;
  }
}

}  // namespace

OpenedBatch open_batch(const BatchRequest& request) {
  const BatchOptions& options = request.options;
  const Layout& layout = find_layout(request.layout);
  PromptFile prompts = read_prompt_file(request.prompts, request.flags, kLargestPromptFile, request.prompt_key,
                                        layout.count, request.lora_dir);
  arrange_outputs(layout, prompts, request.format);
  if (prompts.jobs.empty()) prompts.mistakes.throw_if_any(prompts.name);
  OpenedBatch opened;
  Job like = prompts.jobs.front().job;
  like.device = opened.device = device_of_process(like.device, request.shared.ranks.local_rank);
  opened.workers = workers_of(request, opened.device);
  opened.renderer = open_model(like, prompts);
  opened.plan = plan_batch(prompts, *opened.renderer, options.folder, request.format, layout, [&opened] {
    opened.renderer->check_weights();
    opened.model = hash_model(opened.renderer->folder(), environment_variables());
    return opened.model.hash;
  });
  if (request.shared.ranks.leads()) refuse_strangers(layout, opened.plan, options.folder);
  if (options.shard) opened.plan = shard_of(opened.plan, *options.shard);
  const bool any_lora = std::any_of(opened.plan.jobs.begin(), opened.plan.jobs.end(),
                                    [](const BatchJob& job) { return !job.job.loras.empty(); });
  if (options.batch_size > 1 || any_lora) group_by_shape(opened.plan, *opened.renderer);
  return opened;
}

BatchSummary render_batch(OpenedBatch& batch, const BatchRequest& request, const BatchListener& listener) {
  if (request.shared.ranks.several())
    return run_batch_rank(batch.plan, *batch.renderer, request.options, request.shared, listener);
  if (batch.workers > 1)
    return run_batch_workers(batch.plan, request.options,
                             {.count = batch.workers, .lease = request.shared.lease, .variables = pass_on(batch.model)},
                             listener);
  return run_batch(batch.plan, *batch.renderer, request.options, listener);
}

}  // namespace tessera
