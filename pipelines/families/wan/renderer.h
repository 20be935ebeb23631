#pragma once

#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "checkpoints/lora.h"
#include "pipelines/families/wan/image_condition.h"
#include "pipelines/families/wan/text_to_video.h"
#include "pipelines/offload.h"
#include "pipelines/renderer.h"

namespace tessera {

/// Text and images to video (WanPipeline, WanImageToVideoPipeline). The transformer and the autoencoder are read at
/// their first use, of two experts only the one that is asked stays; the encoders of texts and pictures are in memory
/// only while prepare runs. What earlier prompts and pictures became is forgotten once either takes more than 256 MB.
/// LoRAs are added to the weights when a job with others than the last one comes.
class WanRenderer : public Renderer {
 public:
  /// The model at `path` in the dtype and on the device of `like`. Throws what open_wan_model and load_tokenizer throw.
  WanRenderer(const std::filesystem::path& path, const Job& like);

  const ModelDir& folder() const override { return model_.folder; }
  at::Tensor read_latents(const std::string& argument) const override;
  Job resolve(const Job& job, const at::Tensor& latents, std::vector<std::string>& notes) const override;
  void check_weights() const override;
  int64_t calls(const Job& job) const override;
  std::string shape(const Job& job) const override;
  void prepare(std::span<const Job* const> jobs, const Note& note) override;
  std::vector<DenoiseResult> denoise(std::span<const DenoiseRequest> requests, BatchLimit& limit,
                                     Progress& progress) override;
  LatentPainter painter(const std::string& decoder) const override;
  void release_denoiser() override;
  FrameProblem decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) override;

 private:
  using TextKey = std::tuple<std::string, int64_t, std::string>;  // LoRAs of the encoder, length, prompt

  using ImageKey =
      std::tuple<std::string, std::string, std::string, int64_t, int64_t, int64_t, int64_t>;  // see image_key

  TextKey text_key(const Job& job, const std::string& prompt) const;
  at::Tensor text(const Job& job, const std::string& prompt) const;
  /// Decides what is on the GPU and when, by the largest of the jobs so far, and says so.
  void plan_memory(std::span<const Job* const> jobs, const Note& note);
  bool in_turn() const { return plan_ && plan_->in_turn; }
  void prepare_texts(std::span<const Job* const> jobs, const Note& note);
  /// Content of the pictures, how they become frames, and the size of the clip.
  ImageKey image_key(const Job& job) const;
  void prepare_images(std::span<const Job* const> jobs);
  ImageCondition image(const Job& job) const;
  LoraShelf& loras() const;
  void take_lora_schedules(Job& job, std::vector<std::string>& notes) const;
  void take_loras(Job& job, std::vector<std::string>& notes) const;
  SampleTask task(const DenoiseRequest& request) const;
  /// Makes transformer_ that expert, with the LoRAs of `job` in its weights.
  void read_transformer(const Job& job, WanExpert expert);
  const Loaded<WanVae>& vae();

  at::Device device_;  // opened before the model makes tensors
  WanModel model_;
  std::string dtype_;
  bool stream_;
  Offload offload_;
  std::optional<OffloadPlan> plan_;  // none on a CPU
  int64_t planned_pixels_ = 0, free_bytes_ = 0;
  std::string fingerprint_;
  Tokenizer tokenizer_;
  std::map<TextKey, at::Tensor> texts_;  // [1, tokens, d_model], without the padding
  std::map<ImageKey, ImageCondition> images_;
  mutable std::unique_ptr<LoraShelf> loras_;  // null until a job has a LoRA
  std::optional<Loaded<WanTransformer>> transformer_;
  WanExpert expert_ = WanExpert::kHighNoise;      // the one that transformer_ is
  std::optional<LoraWeights> transformer_loras_;  // none until a job has a LoRA
  std::optional<Loaded<WanVae>> vae_;
};

}  // namespace tessera
