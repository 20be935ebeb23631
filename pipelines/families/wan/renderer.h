#pragma once

#include <map>
#include <optional>
#include <utility>

#include "pipelines/families/wan/text_to_video.h"
#include "pipelines/renderer.h"

namespace tessera {

/// Text to video (WanPipeline). The transformer and the autoencoder are read at their first use; the text encoder is in
/// memory only while prepare runs. States of earlier prompts are forgotten once they take more than 256 MB.
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
  void release_denoiser() override { transformer_.reset(); }
  FrameProblem decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) override;

 private:
  using TextKey = std::pair<int64_t, std::string>;  // length, prompt

  at::Tensor text(const std::string& prompt, int64_t length) const;
  SampleTask task(const DenoiseRequest& request) const;
  const Loaded<WanTransformer>& transformer();

  at::Device device_;  // opened before the model makes tensors
  WanModel model_;
  std::string dtype_, fingerprint_;
  Tokenizer tokenizer_;
  std::map<TextKey, at::Tensor> texts_;  // [1, tokens, d_model], without the padding
  std::optional<Loaded<WanTransformer>> transformer_;
  std::optional<Loaded<WanVae>> vae_;
};

}  // namespace tessera
