#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "checkpoints/wan/model.h"
#include "core/job.h"

namespace tessera {

/// What the model renders when the user does not say: Wan's own numbers (832x480, 81 frames, 16 fps, 50 steps, guidance
/// 5, 512 tokens), solver and shift of its scheduler config, over them `generation_defaults` of its model_index.json
/// (keys of core/job.h that the model may decide). Throws Error for an unknown scheduler or key.
Job model_defaults(const WanModel& model);

/// `job` with everything decided. `latents` (undefined: none given) set the size that the user left open. Frames are
/// rounded down to what the model takes, with a line in `notes`; a seed of -1 is drawn. Throws Error for prompts that
/// are empty, over 65,536 bytes or not UTF-8, sizes that the model does not take (naming the nearest), an output that
/// does not hold the frames, and latents of another shape.
Job resolve_job(Job job, const WanModel& model, const at::Tensor& latents, std::vector<std::string>& notes);

}  // namespace tessera
