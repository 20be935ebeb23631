#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/vit.h"
#include "pipelines/class_names.h"
#include "weights/safetensors.h"

namespace tessera {

/// What a classifier's file does not say.
struct ClassifierOptions {
  std::filesystem::path weights;  ///< a .safetensors file, a PyTorch archive (its EMA weights when it has them), or a
                                  ///< folder that convert wrote
  std::optional<int64_t> heads;   ///< needed for MHLA of a width other than DeiT's 192, 384 and 768
  std::optional<double> power;    ///< of FLatten's map; 3 unless said otherwise
  std::filesystem::path labels;   ///< a name a line; "" takes ImageNet's names for 1000 classes
  std::string dtype = "auto", device = "auto";
};

struct ClassScore {
  int64_t index;
  std::string name;  ///< "" when there are no names
  double probability;
};

/// MHLA's and FLatten's DeiT with their evaluation transform: shorter side to size / 0.875 (bicubic, antialiased),
/// the square in the centre, ImageNet's mean and deviation.
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

/// Where a classifier's training checkpoint has its weights, the averaged ones first.
inline const std::vector<std::string> kClassifierKeys = {"state_dict_ema", "model_ema", "ema", "state_dict", "model"};

/// The class of a classifier's folder: "MHLA_ViT", as MHLA's code has it, or "FocusedViT", as FLatten's has none; ""
/// for tensors of another network.
std::string classifier_class(const TensorFile& file);
bool is_classifier_class(const std::string& class_name);

/// The tensors of ClassifierOptions::weights under our names, mapped. Throws Error for those of another network.
TensorFile read_classifier(const std::filesystem::path& weights);

/// config.json of a classifier's folder: its heads and focusing factor, which the tensors do not say. Throws what
/// classifier_config throws.
nlohmann::json classifier_json(const ClassifierOptions& options);

/// The sizes of the network whose tensors (under our names, see vit_tensors) `file` holds. Throws Error.
VitConfig classifier_config(const TensorFile& file, const ClassifierOptions& options);

/// [H, W, 3] uint8 -> [1, 3, size, size] float32 as the classifiers are evaluated.
at::Tensor classifier_input(const at::Tensor& pixels, int64_t size);

}  // namespace tessera
