#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/progress.h"
#include "media/frame_writer.h"
#include "samplers/step_cache.h"

namespace tessera {

/// How often the normalizer of MHLA was in trouble while an output was denoised; see NormalizerStats.
struct NormalizerReport {
  int64_t values = 0, near_zero = 0, negative = 0;
};

/// One finished output.
struct GeneratedOutput {
  std::string path;                ///< as asked for; a pattern when every frame has its own file
  std::vector<std::string> files;  ///< what was written
  nlohmann::ordered_json recipe;   ///< see output_recipe
  double text_seconds = 0, denoise_seconds = 0, decode_seconds = 0;
  StepCacheReport step_cache;         ///< all calls reached the network unless the job asks for a step cache
  NormalizerReport normalizers = {};  ///< all 0 for a model without them
};

/// Whom to tell while a job runs.
struct GenerateListener {
  ProgressStyle progress = ProgressStyle::kNone;
  std::function<void(const std::string&)> note;      ///< a line for the user
  std::function<void(const GeneratedOutput&)> done;  ///< after each output
  /// May wrap an output's writer to see its frames; unset: none.
  std::function<std::unique_ptr<FrameWriter>(std::unique_ptr<FrameWriter>)> tap = {};

  std::unique_ptr<FrameWriter> tapped(std::unique_ptr<FrameWriter> writer) const {
    return tap ? tap(std::move(writer)) : std::move(writer);
  }
};

/// Renders a job from its model directory to its files. Parts of the model are loaded, used and dropped in turn:
/// text encoder, denoiser, autoencoder. Whatever can be known to fail fails before the first step.
/// Throws Error: bad input (2), a stop by signal (130 or 143; no unfinished file stays), frames that are not finite,
/// black or of a single color (4; the latents are kept beside the output), a failed write (1).
void generate(const Job& job, const GenerateListener& listener);

}  // namespace tessera
