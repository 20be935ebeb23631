#include "checkpoints/component.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <set>

#include "checkpoints/dit/layout.h"
#include "checkpoints/load_part.h"
#include "checkpoints/wan/configs.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "models/clip/clip_vision.h"
#include "models/kl/autoencoder_kl.h"
#include "models/umt5/umt5.h"
#include "models/wan/vae.h"
#include "weights/clip_names.h"
#include "weights/names.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <class Part, class Config>
void check_network(const Component& part, WeightCheck depth) {
  check_part<Part>(read_component(part), Config::from_json(part.config()), depth);
}

using Check = void (*)(const Component&, WeightCheck);

/// By class; denoisers are checked by their family.
const std::map<std::string, Check>& network_checks() {
  static const std::map<std::string, Check> checks = {
      {"AutoencoderKL", check_network<AutoencoderKl, AutoencoderKlConfig>},
      {"AutoencoderKLWan", check_network<WanVae, WanVaeConfig>},
      {"CLIPVisionModel", check_network<ClipVision, ClipVisionConfig>},
      {"UMT5EncoderModel", check_network<Umt5Encoder, Umt5Config>},
  };
  return checks;
}

/// Every class that check_component knows, sorted.
std::set<std::string> known_classes(Families families) {
  std::set<std::string> known;
  for (const auto& [name, check] : network_checks()) known.insert(name);
  for (const Family& family : families) known.insert(family.denoiser.classes.begin(), family.denoiser.classes.end());
  return known;
}

bool is_convolution(const TensorFile& file, const char* name, int64_t dims) {
  const at::Tensor* found = file.find(name);
  return found && found->dim() == dims;
}

/// The class whose tensor names these are; "" for others.
std::string class_of(const TensorFile& file) {
  const TensorFile text = canonical_tensors(file, "UMT5EncoderModel");
  if (text.find("shared.weight") && text.find("encoder.final_layer_norm.weight")) return "UMT5EncoderModel";
  if (is_clip_vision(file)) return "CLIPVisionModel";
  constexpr const char* kConvolution = "decoder.conv_in.weight";
  if (is_convolution(canonical_tensors(file, "AutoencoderKLWan"), kConvolution, 5)) return "AutoencoderKLWan";
  if (is_convolution(canonical_tensors(file, "AutoencoderKL"), kConvolution, 4)) return "AutoencoderKL";
  return "";
}

/// The config.json beside a file when it is of that class.
std::optional<JsonConfig> config_beside(const fs::path& file, const std::string& class_name) {
  if (!is_file(file.parent_path() / "config.json")) return std::nullopt;
  const JsonConfig config = JsonConfig::read(file.parent_path() / "config.json");
  const json& names = config.json();
  const bool same = names.value("_class_name", json()) == class_name ||
                    names.value("architectures", json()) == json::array({class_name});
  return same ? std::optional(config) : std::nullopt;
}

JsonConfig config_from_shapes(const TensorFile& file, const std::string& class_name) {
  const TensorFile ours = canonical_tensors(file, class_name);
  if (class_name == "UMT5EncoderModel") return text_encoder_config_of(ours);
  if (class_name == "AutoencoderKLWan") return vae_config_of(ours);
  if (class_name == "CLIPVisionModel") return image_encoder_config_of(ours);
  return {json{{"_class_name", class_name}}, file.where()};
}

Component file_component(const fs::path& path, const TensorFile& file, const std::string& class_name) {
  if (class_name == "AutoencoderKL") return open_autoencoder_kl(path);
  const bool text = class_name == "UMT5EncoderModel", image = class_name == "CLIPVisionModel";
  const bool classifier = is_classifier_class(class_name);
  Component part{.name = text         ? "text_encoder"
                         : image      ? "image_encoder"
                         : classifier ? "classifier"
                                      : "vae",
                 .library = text || image ? "transformers" : "diffusers",
                 .class_name = class_name,
                 .folder = path.has_parent_path() ? path.parent_path() : fs::path("."),
                 .files = {path},
                 .settings = config_beside(path, class_name)};
  if (!part.settings) part.settings = config_from_shapes(file, class_name);
  return part;
}

ModelLayout alone(const fs::path& path, Component part) {
  std::vector<std::string> missing = missing_files(part);
  const std::string class_name = part.class_name;
  const JsonConfig index = part.config();
  return {.name = "component",
          .model = {.path = path, .class_name = class_name, .index = index, .components = {std::move(part)}},
          .missing = std::move(missing)};
}

/// A classifier's options for a part: its file and what the user said.
ClassifierOptions with_file(ClassifierOptions options, const Component& part) {
  options.weights = part.files.empty() ? part.folder : part.files.front();
  return options;
}

}  // namespace

std::optional<ModelLayout> recognize_component(const fs::path& path) {
  if (is_file(path)) {
    const TensorFile averaged = is_torch_archive(path) ? read_torch_archive(path, kClassifierKeys) : read_tensors(path);
    std::string class_name = classifier_class(averaged);
    const TensorFile file = class_name.empty() ? read_tensors(path) : averaged;
    if (class_name.empty()) class_name = class_of(file);
    if (class_name.empty()) return std::nullopt;
    return alone(path, file_component(path, file, class_name));
  }
  if (is_file(path / "model_index.json") || !is_file(path / "config.json")) return std::nullopt;
  return alone(path, open_component(path));
}

TensorFile read_part(const Component& part, Families families) {
  if (is_classifier_class(part.class_name)) return read_classifier(with_file({}, part).weights);
  const Denoiser* denoiser = find_denoiser(part.class_name, families);
  return denoiser ? denoiser->read(part) : read_component(part);
}

json config_of(const Component& part, Families families, const ClassifierOptions& classifier) {
  if (is_classifier_class(part.class_name)) return classifier_json(with_file(classifier, part));
  const Denoiser* denoiser = find_denoiser(part.class_name, families);
  return denoiser ? denoiser->config(part) : part.config().json();
}

std::set<std::string> matrices_of(const Component& part, Families families) {
  if (part.class_name == "UMT5EncoderModel") return matrices_of_part<Umt5Encoder>(Umt5Config::from_json(part.config()));
  const Denoiser* denoiser = find_denoiser(part.class_name, families);
  return denoiser ? denoiser->matrices(part) : std::set<std::string>();
}

void check_component(const Component& part, Families families, WeightCheck depth, const ClassifierOptions& classifier) {
  if (is_classifier_class(part.class_name)) {
    const ClassifierOptions options = with_file(classifier, part);
    const TensorFile file = read_classifier(options.weights);
    return check_part<Vit>(file, classifier_config(file, with_own_config(options)), depth);
  }
  if (const Denoiser* denoiser = find_denoiser(part.class_name, families)) return denoiser->check(part, depth);
  if (const auto found = network_checks().find(part.class_name); found != network_checks().end())
    return found->second(part, depth);
  throw Error(part.folder.string() + ": class " + part.class_name + " is not supported; want one of " +
              joined(known_classes(families)));
}

std::string weight_problem(const Component& part, Families families, const ClassifierOptions& classifier) {
  if (!is_classifier_class(part.class_name) && !known_classes(families).count(part.class_name)) return "";
  try {
    check_component(part, families, WeightCheck::kHeaders, classifier);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

void require_fit(const ModelLayout& layout, Families families, const std::string& advice,
                 const ClassifierOptions& classifier) {
  std::vector<std::string> problems;
  if (!layout.missing.empty())
    problems.push_back(layout.model.path.string() + " is not complete: " + joined(layout.missing, "; ") + advice);
  for (const Component& part : layout.model.components) {
    if (!missing_files(part).empty() && !layout.missing.empty()) continue;  // said already
    const std::string problem = weight_problem(part, families, classifier);
    if (!problem.empty()) problems.push_back(problem);
  }
  if (!problems.empty()) throw Error(joined(problems, "; "));
}

}  // namespace tessera
