#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/progress.h"
#include "media/frame_writer.h"
#include "samplers/together.h"

namespace tessera {

/// A model that stays in memory and renders job after job, whatever its kind: text to video, class to image.
/// Parts are read at their first use; a result depends on nothing but its job.
class Renderer {
 public:
  using Note = std::function<void(const std::string&)>;  ///< takes a line for the user

  virtual ~Renderer() = default;

  /// The model's folder.
  virtual const std::filesystem::path& folder() const = 0;
  /// `job` with everything decided, its `output` too (see pipelines/recipe.h). Throws Error for what this model does
  /// not take.
  virtual Job complete(const Job& job, std::vector<std::string>& notes) const = 0;
  /// Checks names, shapes and finiteness of the weights, so that a damaged file is found before hours of work.
  virtual void check_weights() const = 0;

  // All jobs from here on are completed.

  /// Calls of the network that denoising takes, those that a step cache may spare included.
  virtual int64_t calls(const Job& job) const = 0;
  /// Jobs with one shape can be denoised together.
  virtual std::string shape(const Job& job) const = 0;
  /// Makes what the network is told besides the noise (texts are encoded, classes looked up) for jobs that lack it.
  /// Earlier jobs may be forgotten.
  virtual void prepare(std::span<const Job* const> jobs, const Note& note) = 0;
  /// The latents of jobs that are prepared and have one shape: as save_latents keeps them and decode takes them.
  /// `progress` is advanced by one for each round of calls. See sample_together for the limit and for failures.
  virtual std::vector<SampleResult> denoise(std::span<const Job* const> jobs, TogetherLimit& limit,
                                            Progress& progress) = 0;
  /// Decodes latents into the writer and completes it; `progress` is advanced by the frames. Returns "" or, with the
  /// output not completed, what is wrong with the frames (see FrameCheck).
  virtual std::string decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) = 0;
};

/// The renderer for the model that `like` names (the bundled one when it names none), on its device and in its dtype.
/// Call it before any tensor is made. Throws Error for a folder that holds no model this program can run.
std::unique_ptr<Renderer> open_renderer(const Job& like);

/// Seconds that a prepared job takes, measured.
struct Timing {
  double call = 0;    ///< of the network
  double decode = 0;  ///< all frames decoded and written; from the first frames where there are more than 17
};
Timing time_job(Renderer& renderer, const Job& job);

}  // namespace tessera
