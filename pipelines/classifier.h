#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "checkpoints/class_names.h"
#include "checkpoints/classifier.h"
#include "models/vit/vit.h"

namespace tessera {

struct ClassScore {
  int64_t index;
  std::string name;  ///< "" when there are no names
  double probability;
};

/// MHLA's and FLatten's DeiT with their evaluation transform: shorter side to size / 0.875 (bicubic, antialiased),
/// the square in the center, ImageNet's mean and deviation.
class Classifier {
 public:
  /// Throws Error for a file of other tensors, sizes that cannot be read from it (naming the option that says them),
  /// and labels that are not as many as the classes.
  explicit Classifier(const ClassifierOptions& options);

  /// The `top` most probable classes of pixels [H, W, 3] uint8, the most probable first.
  std::vector<ClassScore> classify(const at::Tensor& pixels, int64_t top) const;

  const VitConfig& config() const { return config_; }

 private:
  VitConfig config_;
  at::Device device_;
  Vit model_;
  ClassNames names_;
};

/// [H, W, 3] uint8 -> [1, 3, size, size] float32 as the classifiers are evaluated.
at::Tensor classifier_input(const at::Tensor& pixels, int64_t size);

}  // namespace tessera
