#pragma once

#include "models/vit/vit.h"
#include "training/labeled_pictures.h"
#include "training/trainer.h"

namespace tessera {

/// Config file of `tessera train classifier`; see training/configs/classifier.json.
struct ClassifierTrainConfig {
  RunConfig run;
  std::string data;              ///< a folder with one folder of pictures a class, or "scenes": ours, by their shape
  std::filesystem::path output;  ///< the finished classifier's folder
  nlohmann::json model;          ///< VitConfig::from_json's, without `classes`
  int64_t batch = 64;
  int64_t held_out_every = 5;                     ///< of a folder's pictures, one in so many
  int64_t scenes = 8192, held_out_scenes = 1024;  ///< how many are rendered
  Augmentation augmentation;
  double label_smoothing = 0.0;

  static ClassifierTrainConfig read(const std::filesystem::path& path);
};

/// How a classifier does on pictures it was not trained on.
struct ClassifierScore {
  double accuracy = 0;  ///< 0 to 1
  double loss = 0;      ///< mean cross-entropy, natural logarithm
};

/// Of logits [N, classes] and labels [N].
ClassifierScore score_classes(const at::Tensor& logits, const at::Tensor& labels);

/// Trains an image classifier (models/vit) by AdamW on augmented pictures. The output folder has config.json, weights,
/// labels.txt (a class a line) and scores.json: {"accuracy": ..., "loss": ..., "pictures": ...} of the held-out part.
class ClassifierTrainer : public Trainer {
 public:
  explicit ClassifierTrainer(ClassifierTrainConfig config);
  double step() override;
  /// Of the held-out pictures, with the weights as they are.
  ClassifierScore held_out_score() const;

 private:
  at::Tensor logits(const at::Tensor& images) const;  // images [B, 3, S, S] float32 in 0..255 -> float32
  void draw_sheet() override;                         // a batch as it is trained on
  void write_output() override;
  at::Tensor batch_rows() const;

  ClassifierTrainConfig config_;
  SplitPictures data_;
  std::unique_ptr<Vit> model_;
  ParamList params_;
};

}  // namespace tessera
