#pragma once

#include <memory>

#include "training/finetune_config.h"
#include "training/rank_group.h"
#include "training/trainer.h"
#include "training/training_set.h"
#include "training/tuned_model.h"

namespace tessera {

/// Fine-tunes the transformer of a model on a cache of encoded clips, in full or, for Wan, with a LoRA. A run of so
/// many `steps` that was killed and goes on ends with the same weights as one that was not, bit for bit, at the same
/// number of threads.
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
  std::unique_ptr<TunedModel> model_;
  TrainingSet data_;
  ParamList all_, trained_;  // of the transformer
};

/// Throws Error unless the model is a pipeline directory in diffusers' layout, the only one that is copied.
void require_pipeline_directory(const ModelDir& model);

/// Copies every part of a pipeline directory but the transformer, and model_index.json, to the folder `output`. What
/// is there is replaced.
void copy_other_parts(const ModelDir& model, const std::filesystem::path& output);

/// Throws Error when a weight is quantized.
void refuse_quantized(const ParamList& params, const std::string& where);

}  // namespace tessera
