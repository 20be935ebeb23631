#include "pipelines/classifier.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <fstream>

#include "core/error.h"

namespace tessera {
namespace {

constexpr double kCropPart = 0.875;  // of the resized picture's shorter side
constexpr float kMean[] = {0.485f, 0.456f, 0.406f}, kDeviation[] = {0.229f, 0.224f, 0.225f};

ClassNames read_names(const std::filesystem::path& path, int64_t classes) {
  if (path.empty() && classes == ClassNames::imagenet().size()) return ClassNames::imagenet();
  std::vector<std::string> names;
  if (path.empty()) return ClassNames(std::vector<std::string>(static_cast<size_t>(classes)));
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) names.push_back(line);
  if (static_cast<int64_t>(names.size()) != classes)
    throw Error(path.string() + ": the model has " + std::to_string(classes) + " classes and needs as many lines; " +
                (in.eof() ? "got " + std::to_string(names.size()) : "the file cannot be read"));
  return ClassNames(std::move(names));
}

}  // namespace

at::Tensor classifier_input(const at::Tensor& pixels, int64_t size) {
  const int64_t height = pixels.size(0), width = pixels.size(1), shorter = std::min(height, width);
  const auto wanted = static_cast<int64_t>(std::floor(static_cast<double>(size) / kCropPart));
  const int64_t H = height * wanted / shorter, W = width * wanted / shorter;
  const at::Tensor planes = pixels.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
  // Rounded to bytes again, as pictures are that Pillow resizes.
  const at::Tensor resized = at::_upsample_bicubic2d_aa(planes, {H, W}, /*align_corners=*/false).round().clamp(0, 255);
  const auto first = [&](int64_t all) { return std::lround(static_cast<double>(all - size) / 2.0); };
  const at::Tensor square = resized.narrow(2, first(H), size).narrow(3, first(W), size) / 255.0;
  const auto constants = [&](const float* values) {
    return at::tensor({values[0], values[1], values[2]}).view({3, 1, 1});
  };
  return (square - constants(kMean)) / constants(kDeviation);
}

Classifier::Classifier(const ClassifierOptions& options)
    : device_(open_device(options.device)), model_(VitConfig{}), names_({}) {
  const TensorFile file = read_classifier(options.weights);
  config_ = classifier_config(file, with_own_config(options));
  names_ = read_names(options.labels, config_.classes);
  model_ = load_classifier(file, config_, options.dtype, device_);
}

std::vector<ClassScore> Classifier::classify(const at::Tensor& pixels, int64_t top) const {
  const c10::InferenceMode inference;
  const at::Tensor logits = model_(classifier_input(pixels, config_.image).to(device_));
  const auto [best, places] = logits.to(at::kDouble).softmax(-1).topk(std::min(top, config_.classes), -1);
  if (!best.isfinite().all().item<bool>())
    throw Error("the classifier's output is not finite; try --dtype fp32", ExitCode::kFailed);
  std::vector<ClassScore> scores;
  for (int64_t i = 0; i < best.size(1); ++i) {
    const auto index = places[0][i].item<int64_t>();
    scores.push_back({index, names_.name(index), best[0][i].item<double>()});
  }
  return scores;
}

}  // namespace tessera
