#pragma once

#include "models/attention/attention.h"
#include "pipelines/renderer.h"

namespace tessera {

/// sample_batch for a renderer: `progress` is advanced by one for each round of calls, and each result has the counts
/// of its own rows from `stats`, which the network fills anew in every call. `before_call`, unless unset, is told whose
/// rows the next call has.
std::vector<DenoiseResult> denoise_tasks(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                         const NormalizerStats& stats, BatchLimit& limit, Progress& progress,
                                         std::function<void(std::span<const TaskRows>)> before_call = {});

}  // namespace tessera
