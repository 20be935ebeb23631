#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "batch/layout.h"
#include "batch/prompt_file.h"
#include "core/ranks.h"
#include "pipelines/renderer.h"

namespace tessera {

/// One render with everything decided.
struct BatchJob {
  std::string id;
  Job job;           ///< completed; `output` lies in the output folder
  std::string name;  ///< the output relative to that folder: a file, or a pattern of frames
  std::string hash;  ///< see job_hash
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();  ///< of the prompt's row, for the manifest
  std::vector<Job> tiles = {};  ///< of a tiled output: the pictures after `job`, of the same shape
  SideFile side_file = {};      ///< lies beside the output, and may be that of others too

  /// `job` and `tiles`: what is denoised and decoded for the output, in order.
  std::vector<const Job*> samples() const;
};

struct BatchPlan {
  std::vector<BatchJob> jobs;      ///< never empty
  std::vector<std::string> notes;  ///< for the user, each once
};

/// Every count-th job from the index-th on. May hold none.
BatchPlan shard_of(const BatchPlan& plan, const Shard& shard);

/// SHA-256 of everything that determines the bytes of a job's output: its recipe without the paths of the model and of
/// LoRAs, those of its `tiles`, the output's name, the model's hash (see batch/model_hash.h), the initial noise when it
/// comes from a file, and the program's version.
std::string job_hash(const BatchJob& job, const std::string& model_hash);

/// Completes every job for the model (see Renderer::complete) and names its output in `folder`. `format` is "" (a
/// picture or an .mp4 video as the number of frames has it), "frames" (ID/0000.png, ...) or an extension without its
/// dot. `layout` is that of the file (see arrange_outputs). `model_hash` is asked for once nothing can be refused any
/// more. Throws one Error with all mistakes of the file and all that the model, the format or the layout refuses, each
/// with its line.
BatchPlan plan_batch(const PromptFile& prompts, const Renderer& renderer, const std::filesystem::path& folder,
                     const std::string& format, const Layout& layout, const std::function<std::string()>& model_hash);

/// Puts the jobs of one shape (see Renderer::shape) next to each other, shapes and jobs in the order of the file, so
/// that they can be denoised together.
void group_by_shape(BatchPlan& plan, const Renderer& renderer);

}  // namespace tessera
