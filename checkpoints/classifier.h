#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "models/vit/vit.h"
#include "weights/safetensors.h"

namespace tessera {

/// What a classifier's file does not specify.
struct ClassifierOptions {
  std::filesystem::path weights;  ///< a .safetensors file, a PyTorch archive (its EMA weights if it has them), or a
                                  ///< folder written by convert or train classifier
  std::optional<int64_t> heads;   ///< required for MHLA of a width other than DeiT's 192, 384 and 768
  std::optional<double> power;    ///< focusing factor of FLatten; 3 by default
  std::filesystem::path labels;   ///< one name per line; "": labels.txt of a folder of weights, else ImageNet's names
                                  ///< for 1000 classes
  std::string dtype = "auto", device = "auto";
};

/// Where a classifier's training checkpoint keeps its weights, averaged ones first.
inline const std::vector<std::string> kClassifierKeys = {"state_dict_ema", "model_ema", "ema", "state_dict", "model"};

/// The class name written for a classifier: "MHLA_ViT", as in MHLA's code, or "FocusedViT" for FLatten's, which has
/// none;
/// "" for tensors of another network.
std::string classifier_class(const TensorFile& file);
bool is_classifier_class(const std::string& class_name);

/// The tensors of ClassifierOptions::weights under canonical names, mapped. Throws Error for tensors of another
/// network.
TensorFile read_classifier(const std::filesystem::path& weights);

/// config.json of a classifier's folder: heads and focusing factor, which the tensors do not determine. Throws what
/// classifier_config throws.
nlohmann::json classifier_json(const ClassifierOptions& options);

/// The sizes of the network whose tensors (under the names of vit_tensors) `file` holds. Throws Error.
VitConfig classifier_config(const TensorFile& file, const ClassifierOptions& options);

/// `options` completed by the folder's config; the user may repeat its values. Throws Error where they differ.
ClassifierOptions with_own_config(ClassifierOptions options);

/// The network with the weights of `file`. `dtype` is --dtype's value, see choose_dtype. Throws bind's Error.
Vit load_classifier(const TensorFile& file, const VitConfig& config, const std::string& dtype, at::Device device);

}  // namespace tessera
