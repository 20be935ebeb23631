#include "metrics/classifier_extractor.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/device_settings.h"
#include "core/error.h"
#include "core/sha256.h"
#include "models/inception/inception.h"
#include "models/vit/input.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

VitConfig read_classifier_config(const std::filesystem::path& folder) {
  const JsonConfig config = open_component(folder).config();
  if (config.text("_class_name", "") != kTrainedClassifierClass)
    throw Error(folder.string() + ": as a feature network want a folder that `tessera train classifier` wrote " + "(" +
                kTrainedClassifierClass + " in its config.json), or a TorchScript file");
  return VitConfig::from_json(config);
}

std::string hash_of(const Component& component) {
  Sha256 hash;
  for (const auto& file : weight_files(component)) hash.update_file(file);
  return hash.hex();
}

}  // namespace

ClassifierExtractor::ClassifierExtractor(const std::filesystem::path& folder, at::Device device)
    : config_(read_classifier_config(folder)), model_(config_), device_(device) {
  if (device.is_cuda()) require_exact_products();
  const Component component = open_component(folder);
  ParamList params;
  model_.params(params);
  bind(params, read_weights(component), at::kFloat, device);
  info_.name = "classifier " + folder.filename().string() + " of tessera train classifier (not the network of FID)";
  info_.sha256 = hash_of(component);
  info_.dtype = "float32";
  info_.dims = config_.channels;
  info_.side = kInceptionSide;  // what protocols make of a picture; it is resized from there
}

Features ClassifierExtractor::features(const at::Tensor& pixels) const {
  const c10::NoGradGuard no_gradients;
  const at::Tensor images = pixels.to(device_, at::kFloat);
  const at::Tensor resized =
      at::_upsample_bilinear2d_aa(images, {config_.image, config_.image}, /*align_corners=*/false);
  const at::Tensor pool = model_.features(classifier_normalized(resized)).to(at::kCPU, at::kFloat);
  if (!pool.isfinite().all().item<bool>()) throw Error(info_.name + ": its features are NaN or infinite");
  return {pool, {}};
}

}  // namespace tessera
