#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/dit/model.h"
#include "pipelines/families/dit/sampling.h"
#include "pipelines/generate.h"
#include "pipelines/renderer.h"

namespace tessera {

/// `job` with everything decided: one class or several (as numbers, joined by commas) in class_label, the size of the
/// checkpoint, one frame. Throws Error for a class that is missing or unknown, another size, and options that have no
/// meaning for classes, naming why.
Job complete_job(Job job, const DitModel& model, const at::Tensor& latents, std::vector<std::string>& notes);

/// The single outputs of a completed job: `count` of the first class, then of the next; output i has seed + i and is
/// named as output_name has it.
std::vector<Job> single_outputs(const Job& job);

/// Initial noise from a safetensors file as read_latents, [N, channels, h, w].
at::Tensor read_latents(const std::string& argument, const DitModel& model);

/// The picture of latents [1, C, h, w]: [1, 3, H, W] in [0, 1], float32, in tiles of `tile` pixels (0: whole).
at::Tensor decode_latents(const DitModel& model, const Loaded<AutoencoderKl>& vae, const at::Tensor& latents,
                          int64_t tile);

/// The network as samplers ask it: condition int64 [R], classes. Without `variance` it gives the noise alone.
ConditionalModel network_of(const Loaded<Dit>& transformer, bool variance);

/// Class to image (DiTPipeline). Denoiser and autoencoder are read at their first use.
class DitRenderer : public Renderer {
 public:
  /// The model that `like` names, with its autoencoder, block size, dtype and device. Throws what open_dit_model
  /// throws.
  explicit DitRenderer(const Job& like);

  const std::filesystem::path& folder() const override { return model_.folder.path; }
  Job complete(const Job& job, std::vector<std::string>& notes) const override;
  void check_weights() const override;
  int64_t calls(const Job& job) const override;
  std::string shape(const Job& job) const override;
  void prepare(std::span<const Job* const>, const Note&) override {}
  std::vector<SampleResult> denoise(std::span<const Job* const> jobs, TogetherLimit& limit,
                                    Progress& progress) override;
  std::string decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) override;

  const DitModel& model() const { return model_; }
  /// A completed job of one output, from `noise` or, when that is undefined, from its seed.
  SampleTask task(const Job& job, const at::Tensor& noise) const;
  /// The latents of such tasks; all with or all without a learned variance.
  std::vector<SampleResult> sample(std::vector<SampleTask>& tasks, bool variance, TogetherLimit& limit,
                                   Progress& progress);
  /// Drops the denoiser from memory.
  void drop_transformer() { transformer_.reset(); }

 private:
  at::Device device_;  // opened before the model makes tensors
  DitModel model_;
  std::string dtype_;
  std::optional<Loaded<Dit>> transformer_;
  std::optional<Loaded<AutoencoderKl>> vae_;
};

/// generate() for a class-conditional model.
void generate_classes(const Job& job, const GenerateListener& listener);

/// decode_file() for a class-conditional model: `recipe` is the job that made the latents in `path`, its output, device
/// and dtype those asked for.
std::vector<std::string> decode_class_latents(const Job& recipe, const std::string& path, ProgressStyle progress,
                                              const std::function<void(const std::string&)>& note);

}  // namespace tessera
