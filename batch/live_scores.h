#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "batch/plan.h"
#include "media/frame_writer.h"
#include "metrics/live_fid.h"

namespace tessera {

/// The writer of a batch's job, whose features are kept beside the outputs, in features/, once it is complete. `fid`
/// must outlive it.
std::unique_ptr<FrameWriter> tap_job(const LiveFid& fid, const BatchJob& job, const std::filesystem::path& folder,
                                     std::unique_ptr<FrameWriter> writer);

/// Statistics of all outputs of `plan` that the folder's manifest has as done, in the order of their ids: from the kept
/// features, and from the files of outputs that were rendered without being scored (`note` says how many).
FeatureStatistics collect_features(const LiveFid& fid, const BatchPlan& plan, const std::filesystem::path& folder,
                                   const std::function<void(const std::string&)>& note);

}  // namespace tessera
