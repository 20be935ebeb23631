#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch/batch.h"
#include "batch/model_hash.h"
#include "batch/plan.h"
#include "batch/ranks.h"
#include "core/job.h"
#include "pipelines/renderer.h"

namespace tessera {

inline constexpr int kWorkersByGpu = 0;

/// A batch as the user asks for it.
struct BatchRequest {
  std::filesystem::path prompts;                                ///< see read_prompt_file
  std::vector<std::pair<const JobOption*, std::string>> flags;  ///< see read_prompt_file
  std::string prompt_key;                                       ///< see read_prompt_source; "" for the usual names
  std::filesystem::path lora_dir;                               ///< see read_prompt_file
  std::string format;                                           ///< see plan_batch
  std::string layout = "flat";                                  ///< see find_layout
  BatchOptions options;
  SharedBatch shared;
  int workers = 1;  ///< processes to start on this machine; 1: none; kWorkersByGpu: one for each GPU, if on GPUs
};

/// A batch whose prompt file and model have been read and checked.
struct OpenedBatch {
  std::unique_ptr<Renderer> renderer;
  ModelHash model;
  BatchPlan plan;      ///< of the shard when there is one; jobs of one shape next to each other when they are batched
  std::string device;  ///< of this process: ranks of one machine spread over its GPUs unless one is named
  int workers = 1;     ///< of the request, decided
};

/// Throws what read_prompt_file, arrange_outputs, open_renderer, plan_batch and refuse_strangers throw, and Error for
/// damaged weights.
OpenedBatch open_batch(const BatchRequest& request);

/// Renders it in this process (run_batch), in the workers it starts (run_batch_workers), or as one of the ranks that a
/// launcher started (run_batch_rank), and throws what they throw.
BatchSummary render_batch(OpenedBatch& batch, const BatchRequest& request, const BatchListener& listener);

}  // namespace tessera
