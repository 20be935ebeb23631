#include "pipelines/classifier.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <fstream>

#include "core/device_settings.h"
#include "core/error.h"
#include "core/paths.h"
#include "models/vit/input.h"

namespace tessera {
namespace {

/// The file that --labels names, or else the one that lies with the weights.
std::filesystem::path labels_of(const ClassifierOptions& options) {
  const std::filesystem::path own = options.weights / "labels.txt";
  return options.labels.empty() && is_file(own) ? own : options.labels;
}

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
  return classifier_normalized(classifier_square(pixels, size));
}

Classifier::Classifier(const ClassifierOptions& options)
    : device_(open_device(options.device)), model_(VitConfig{}), names_({}) {
  if (device_.is_cuda()) require_exact_products();
  const TensorFile file = read_classifier(options.weights);
  config_ = classifier_config(file, with_own_config(options));
  names_ = read_names(labels_of(options), config_.classes);
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
