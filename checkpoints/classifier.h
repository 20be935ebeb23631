#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "models/vit/vit.h"
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

/// `options` with what a folder's config says; the user may repeat it. Throws Error where they differ.
ClassifierOptions with_own_config(ClassifierOptions options);

/// The network with the weights of `file`. `dtype` is --dtype's value, see choose_dtype. Throws bind's Error.
Vit load_classifier(const TensorFile& file, const VitConfig& config, const std::string& dtype, at::Device device);

}  // namespace tessera
