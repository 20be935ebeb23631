#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoints/wan/model.h"
#include "training/finetune_config.h"
#include "training/trainer.h"
#include "training/training_set.h"

namespace tessera {

/// Config file of `tessera train linearize`: how a model with softmax attention becomes one with MHLA or another linear
/// attention. docs/training.md has its keys.
struct LinearizeConfig {
  nlohmann::json attention;  ///< of the new transformer's config; `block_layout` may be absent, see derived_layout
  FinetuneConfig distill;    ///< stage 1; its output is the folder of a transformer
  FinetuneConfig tune;       ///< stage 2, full

  /// Throws Error naming the file and key.
  static LinearizeConfig read(const std::filesystem::path& path);
};

/// The number of blocks along each axis of a token grid: the divisor of its length, at least 2, that is nearest to a
/// sixth of it (the smaller of two), and 1 where the length is 1. Of 21x30x50, the grid of MHLA's released video model,
/// that is its own layout, 3x5x10.
Extent3 derived_layout(const Extent3& grid);

/// The transformer config `teacher` with `attention` in place of softmax, its layout derived from `grid` where it has
/// none. Throws Error when the teacher has another attention than softmax, or `attention` is softmax or malformed.
nlohmann::json linearized_config(const nlohmann::json& teacher, nlohmann::json attention, const Extent3& grid,
                                 const std::string& where);

/// Stage 1: each new attention layer learns what the softmax layer in its place puts out, from that layer's inputs in
/// the softmax model; everything else is frozen. Weights that both kinds have begin as the softmax layer's, the others
/// as they are initialized. The loss is the mean over layers of the squared error over the output's mean square;
/// AdamW's step. Source: the first stage of LoLCATs, arXiv:2410.10254.
class DistillTrainer : public Trainer {
 public:
  DistillTrainer(FinetuneConfig config, const nlohmann::json& attention);
  double step() override;

 private:
  void replace_layers();
  void draw_sheet() override;
  void write_output() override;  // the folder of the new transformer

  FinetuneConfig config_;
  WanModel model_;
  TrainingSet data_;
  nlohmann::json student_json_;
  WanTransformerConfig student_;
  WanTransformer transformer_;  // the teacher's, with layers that teach
  ParamList frozen_, trained_;
  at::Tensor loss_;  // summed by the layers of one pass
  int64_t taught_ = 0;
};

/// Both stages. What is finished is not done again: an interrupted run goes on when it is started again.
void linearize(const LinearizeConfig& config);

}  // namespace tessera
