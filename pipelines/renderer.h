#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/progress.h"
#include "media/frame_writer.h"
#include "pipelines/frame_check.h"
#include "pipelines/preview.h"
#include "samplers/loop.h"
#include "weights/model_dir.h"

namespace tessera {

class AttentionProbe;  // models/attention/probe.h

/// How often the MHLA normalizer was nearly zero or negative while one output was denoised; see NormalizerStats.
struct NormalizerReport {
  int64_t values = 0, near_zero = 0, negative = 0;
};

/// "12 of 3000 normalizers of MHLA were nearly zero ...": a line for the user, "" when the guard never acted.
std::string normalizer_text(const NormalizerReport& report);

/// For --json and the manifest of a batch.
nlohmann::ordered_json to_json(const NormalizerReport& report);
nlohmann::ordered_json to_json(const StepCacheReport& report);

/// One output to be denoised.
struct DenoiseRequest {
  const Job* job;         ///< resolved, a single output
  at::Tensor noise = {};  ///< its initial noise; undefined: from the job's own latents file or its seed
  std::function<void(int64_t done, const at::Tensor& data)> on_data = {};  ///< see SampleTask; for a painter
};

struct DenoiseResult {
  at::Tensor latents;  ///< as save_latents keeps them and decode takes them; undefined after a failure
  StepCacheReport step_cache;
  NormalizerReport normalizers;  ///< of this output's own rows of the network calls
  std::exception_ptr failure;    ///< see SampleResult
};

/// A model that is open and renders job after job, whatever its family: the one path from a job to frames.
///
/// A job is resolved, split into single outputs, prepared (texts are encoded), denoised and decoded, in this order.
/// Parts of the model are read at their first use and stay in memory; a result depends on nothing but its job.
class Renderer {
 public:
  using Note = std::function<void(const std::string&)>;  ///< takes a line for the user

  virtual ~Renderer() = default;

  /// Where the model's files lie, the parts outside of its own folder included.
  virtual const ModelDir& folder() const = 0;
  /// Initial noise, or latents to decode, from a safetensors file; see pipelines/latents.h.
  virtual at::Tensor read_latents(const std::string& argument) const = 0;
  /// `job` with everything decided, its `output` too (see pipelines/recipe.h). `latents` (undefined: none) are those of
  /// all its outputs and set the size that the job leaves open. Throws Error for what this model does not take.
  virtual Job resolve(const Job& job, const at::Tensor& latents, std::vector<std::string>& notes) const = 0;
  /// The single outputs of a resolved job: `count` of each thing to show. Output i has seed + i and is named as
  /// output_name has it.
  virtual std::vector<Job> single_outputs(const Job& job) const;
  /// Checks names, shapes and finiteness of the weights, so that a damaged file is found before hours of work.
  virtual void check_weights() const = 0;

  // All jobs from here on are resolved single outputs.

  /// Network calls that denoising takes, those that a step cache may skip included.
  virtual int64_t calls(const Job& job) const = 0;
  /// Jobs with one shape can be denoised together.
  virtual std::string shape(const Job& job) const = 0;
  /// Makes what the network is told besides the noise (texts are encoded, classes looked up) for jobs that lack it.
  /// Earlier jobs may be forgotten.
  virtual void prepare(std::span<const Job* const> jobs, const Note& note) = 0;
  /// The latents of jobs that are prepared and have one shape. `progress` is advanced by one for each round of calls.
  /// See sample_batch for the limit, for failures and for cancellation.
  virtual std::vector<DenoiseResult> denoise(std::span<const DenoiseRequest> requests, BatchLimit& limit,
                                             Progress& progress) = 0;
  /// `probe` sees the self-attention of every network call from here on; it must outlive them. Null: none does.
  void watch(AttentionProbe* probe) { probe_ = probe; }
  /// Paints the data that this model's on_data callbacks get, with the tiny decoder of that file, or with its linear
  /// map where none is given. Throws Error for a model without previews, and for a file that is none of its decoders.
  virtual LatentPainter painter(const std::string& decoder) const;
  /// Drops the denoiser from memory; denoise reads it again. For callers that only decode from here on.
  virtual void release_denoiser() = 0;
  /// Decodes latents into the writer; `progress` is advanced by the frames. Completes the output unless something is
  /// wrong with the frames, which it returns.
  virtual FrameProblem decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) = 0;

 protected:
  AttentionProbe* probe_ = nullptr;
};

/// The renderer for the model that `like` names (the bundled one when it names none), on its device and in its dtype.
/// Call it before any tensor is made. Throws Error for a folder that holds no model this program can run.
std::unique_ptr<Renderer> open_renderer(const Job& like);

/// The latents of one prepared job by itself. Throws its failure.
DenoiseResult denoise_alone(Renderer& renderer, const DenoiseRequest& request, Progress& progress);

}  // namespace tessera
