#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/dit/model.h"
#include "pipelines/families/dit/sampling.h"
#include "pipelines/renderer.h"

namespace tessera {

/// `job` with everything decided: one class or several (as numbers, joined by commas) in class_label, the size of the
/// checkpoint, one frame. Throws Error for a class that is missing or unknown, another size, and options that have no
/// meaning for classes, naming why.
Job resolve_job(Job job, const DitModel& model, const at::Tensor& latents, std::vector<std::string>& notes);

/// The picture of latents [1, C, h, w]: [1, 3, H, W] in [0, 1], float32, in tiles of `tile` pixels (0: whole).
at::Tensor decode_latents(const DitModel& model, const Loaded<AutoencoderKl>& vae, const at::Tensor& latents,
                          int64_t tile);

/// The network as samplers ask it: condition int64 [R], classes. Without `variance` it gives the noise alone. The
/// transformer must outlive the result, and so must `stats`, which receives the counts of MHLA's normalizers in the
/// last call, and `probe`.
ConditionalModel network_of(const Loaded<Dit>& transformer, bool variance, NormalizerStats* stats = nullptr,
                            AttentionProbe* probe = nullptr);

/// Class to image (DiTPipeline). Denoiser and autoencoder are read at their first use.
class DitRenderer : public Renderer {
 public:
  /// The model at `path` with the autoencoder, block size, dtype and device of `like`. Throws what open_dit_model
  /// throws.
  DitRenderer(const std::filesystem::path& path, const Job& like);

  const ModelDir& folder() const override { return model_.folder; }
  at::Tensor read_latents(const std::string& argument) const override;
  Job resolve(const Job& job, const at::Tensor& latents, std::vector<std::string>& notes) const override;
  std::vector<Job> single_outputs(const Job& job) const override;
  void check_weights() const override;
  int64_t calls(const Job& job) const override;
  std::string shape(const Job& job) const override;
  void prepare(std::span<const Job* const>, const Note&) override {}
  std::vector<DenoiseResult> denoise(std::span<const DenoiseRequest> requests, BatchLimit& limit,
                                     Progress& progress) override;
  void release_denoiser() override { transformer_.reset(); }
  FrameProblem decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) override;

 private:
  SampleTask task(const DenoiseRequest& request) const;

  at::Device device_;  // opened before the model makes tensors
  DitModel model_;
  std::string dtype_;
  bool stream_;
  std::string fingerprint_;
  std::optional<Loaded<Dit>> transformer_;
  std::optional<Loaded<AutoencoderKl>> vae_;
};

}  // namespace tessera
