#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "core/progress.h"
#include "media/frame_writer.h"
#include "pipelines/batch_plan.h"
#include "pipelines/text_to_video.h"

namespace tessera {

/// A model that stays in memory from job to job. The transformer and the autoencoder are read at their first use; the
/// text encoder is in memory only while encode_texts runs.
class BatchRenderer {
 public:
  BatchRenderer(const WanModel& model, const Job& like);

  /// Encodes the prompts of these jobs that are not encoded yet. Earlier ones are forgotten once they take more than
  /// 256 MB. `note` is told of prompts that were cut.
  void encode_texts(std::span<const BatchJob* const> jobs, const std::function<void(const std::string&)>& note);
  /// Latents of a job whose texts are encoded. Depends on nothing but the job.
  at::Tensor denoise_job(const Job& job, const std::string& label, ProgressStyle style);
  /// As decode_to, with this model.
  std::string decode_job(const Job& job, const at::Tensor& latents, FrameWriter& writer, const std::string& label,
                         ProgressStyle style);
  /// Seconds of one call of the network for a job whose texts are encoded, measured.
  double seconds_per_call(const Job& job);

 private:
  using TextKey = std::pair<int64_t, std::string>;  // length, prompt

  at::Tensor text(const std::string& prompt, int64_t length) const;
  Conditioning conditioning(const Job& job) const;
  const Loaded<WanTransformer>& transformer();

  const WanModel& model_;
  std::string dtype_;
  at::Device device_;
  Tokenizer tokenizer_;
  std::map<TextKey, at::Tensor> texts_;  // [1, tokens, d_model], without the padding
  std::optional<Loaded<WanTransformer>> transformer_;
  std::optional<Loaded<WanVae>> vae_;
};

}  // namespace tessera
