#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/progress.h"
#include "media/frame_writer.h"
#include "pipelines/renderer.h"

namespace tessera {

/// One finished output.
struct GeneratedOutput {
  std::string path;                ///< as asked for; a pattern when every frame has its own file
  std::vector<std::string> files;  ///< what was written
  nlohmann::ordered_json recipe;   ///< see output_recipe
  double text_seconds = 0, denoise_seconds = 0, decode_seconds = 0;
  int64_t text_bytes = 0, denoise_bytes = 0, decode_bytes = 0;  ///< the most tensors took of a GPU; 0 on a CPU
  StepCacheReport step_cache;    ///< all calls reached the network unless the job asks for a step cache
  NormalizerReport normalizers;  ///< all 0 for a model without them
};

/// Callbacks of generate().
struct GenerateCallbacks {
  ProgressStyle progress = ProgressStyle::kNone;
  std::function<void(const std::string&)> note;      ///< a line for the user
  std::function<void(const GeneratedOutput&)> done;  ///< after each output
  /// May wrap an output's writer to see its frames; unset: none.
  std::function<std::unique_ptr<FrameWriter>(std::unique_ptr<FrameWriter>)> tap = {};
  PreviewRequest preview = {};
};

/// Renders a job from its model directory to its files, one output after another. Of the model only what is needed is
/// in memory: the text encoder goes before the denoiser comes, the denoiser before the last output is decoded. Whatever
/// can be known to fail fails before the first step.
/// Missing folders of the outputs are created. Throws Error: bad input (2), cancellation (130 or
/// 143; no unfinished file stays), frames that are not finite, black or of a single color (4; the latents are kept
/// beside the output), a failed write (1).
void generate(const Job& job, const GenerateCallbacks& callbacks);

/// What `tessera decode` is asked to do.
struct DecodeRequest {
  std::string latents;                          ///< a file that generate or batch kept: its header holds the recipe
  std::string output;                           ///< as Job::output
  std::string model;                            ///< "" is the recipe's
  std::string dtype = "auto", device = "auto";  ///< dtype auto is the recipe's
  std::string vae_tile;                         ///< as Job::vae_tile; "" is the recipe's
};

/// Turns saved latents into frames without sampling again. Returns the files written. Throws Error: no recipe in the
/// file, latents that are not those of the recipe, an output that does not hold the frames (2), bad pixels
/// (4), a failed write (1), cancellation (130 or 143).
std::vector<std::string> decode_file(const DecodeRequest& request, ProgressStyle progress, const Renderer::Note& note);

}  // namespace tessera
