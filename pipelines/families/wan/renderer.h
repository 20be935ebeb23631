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
  /// Throws what open_wan_model and load_tokenizer throw.
  WanRenderer(const std::filesystem::path& folder, const std::string& dtype, at::Device device);

  const std::filesystem::path& folder() const override { return model_.folder.path; }
  Job complete(const Job& job, std::vector<std::string>& notes) const override;
  void check_weights() const override;
  int64_t calls(const Job& job) const override;
  std::string shape(const Job& job) const override;
  void prepare(std::span<const Job* const> jobs, const Note& note) override;
  std::vector<SampleResult> denoise(std::span<const Job* const> jobs, TogetherLimit& limit,
                                    Progress& progress) override;
  std::string decode(const Job& job, const at::Tensor& latents, FrameWriter& writer, Progress& progress) override;

 private:
  using TextKey = std::pair<int64_t, std::string>;  // length, prompt

  at::Tensor text(const std::string& prompt, int64_t length) const;
  SampleTask task(const Job& job) const;
  const Loaded<WanTransformer>& transformer();

  WanModel model_;
  std::string dtype_;
  at::Device device_;
  Tokenizer tokenizer_;
  std::map<TextKey, at::Tensor> texts_;  // [1, tokens, d_model], without the padding
  std::optional<Loaded<WanTransformer>> transformer_;
  std::optional<Loaded<WanVae>> vae_;
};

}  // namespace tessera
