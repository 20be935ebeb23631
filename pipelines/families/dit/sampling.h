#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoints/dit/model.h"
#include "core/job.h"
#include "samplers/guidance.h"
#include "samplers/sampler.h"

namespace tessera {

/// What the model renders when the user does not say: 50 steps and guidance 4 as DiTPipeline (250 steps of ddpm for the
/// original codes' checkpoints, guiding 3 channels for facebookresearch's), over them `generation_defaults` of its
/// model_index.json.
Job model_defaults(const DitModel& model);

/// Sampler and guidance of a job: names become canonical, guidance that has no effect is told in `notes`. Throws Error
/// for what diffusion models, this one or the sampler do not support.
void check_sampling(Job& job, const DitModel& model, std::vector<std::string>& notes);
/// The solver of a resolved job, ready for the first call.
std::unique_ptr<Sampler> sampler_of(const Job& job, const DitModel& model);
/// Whether that solver wants the channels of a learned variance.
bool takes_variance(const Job& job, const DitModel& model);
/// The guidance of a resolved job.
GuidanceConfig guidance_of(const Job& job, const DitModel& model);

}  // namespace tessera
