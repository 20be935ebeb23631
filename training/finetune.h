#pragma once

#include <memory>

#include "checkpoints/wan/model.h"
#include "training/finetune_config.h"
#include "training/rank_group.h"
#include "training/trainer.h"
#include "training/training_set.h"

namespace tessera {

/// Fine-tunes a Wan or Wan-MHLA transformer on a cache of encoded clips, with a LoRA or in full. A run of so many
/// `steps` that was killed and goes on ends with the same weights as one that was not, bit for bit, at the same number
/// of threads.
class FinetuneTrainer : public Trainer {
 public:
  /// Opens model and cache and continues from the run's checkpoint. Throws Error for quantized weights, for a cache of
  /// another autoencoder or text encoder, and for an output that cannot be written.
  /// With `ranks`, each of them does its part of the `accumulate` batches of a step: the same step as one process, up
  /// to the order of sums.
  explicit FinetuneTrainer(FinetuneConfig config, std::unique_ptr<RankGroup> ranks = nullptr);
  double step() override;
  bool leads() const override { return !ranks_ || ranks_->rank() == 0; }
  /// The mean loss of the held-out clips at fixed times and noise. Throws c10::Error when none are held out.
  double validation_loss() const;

 private:
  void load_transformer_weights();
  void draw_sheet() override;
  void write_output() override;
  void write_model();

  double sum_over_ranks(double loss);

  FinetuneConfig config_;
  std::unique_ptr<RankGroup> ranks_;  // none: this process alone
  WanModel model_;
  Component part_;  // the transformer that is trained
  TrainingSet data_;
  WanTransformer transformer_;
  ParamList trained_;
};

/// Throws Error unless the model is a pipeline directory in diffusers' layout, the only one that is copied.
void require_pipeline_directory(const WanModel& model);

/// Copies every part of a pipeline directory but the transformer, and model_index.json, to the folder `output`. What
/// is there is replaced.
void copy_other_parts(const WanModel& model, const std::filesystem::path& output);

/// Throws Error when a cache was encoded by other networks than the model's.
void check_cache_fits(const DataCache& cache, const WanModel& model);

/// Throws Error when a weight is quantized.
void refuse_quantized(const ParamList& params, const std::string& where);

/// Frames of latents [z, t, h, w] of a sample that is drawn with the text states [1, L, d] `positive` and `negative`.
struct SheetSampling {
  int64_t steps = 25;
  double guidance = 5, shift = 3;
  at::ScalarType dtype = at::kBFloat16;
};
at::Tensor sample_latents(const WanTransformer& transformer, const std::vector<int64_t>& shape, uint64_t seed,
                          const at::Tensor& positive, const at::Tensor& negative, const SheetSampling& sampling);

}  // namespace tessera
