#include "checkpoints/component.h"

#include <ATen/core/Tensor.h>

#include "checkpoints/dit/layout.h"
#include "checkpoints/dit/model.h"
#include "checkpoints/load_part.h"
#include "checkpoints/wan/configs.h"
#include "core/error.h"
#include "core/paths.h"
#include "weights/kl_names.h"
#include "weights/names.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <class Part, class Config>
void check_network(const Component& part) {
  check_part<Part>(read_part(part), Config::from_json(part.config()));
}

using Check = void (*)(const Component&);

const std::map<std::string, Check>& network_checks() {
  static const std::map<std::string, Check> checks = {
      {"AutoencoderKL", check_network<AutoencoderKl, AutoencoderKlConfig>},
      {"AutoencoderKLWan", check_network<WanVae, WanVaeConfig>},
      {"DiTTransformer2DModel", check_network<Dit, DitConfig>},
      {"Transformer2DModel", check_network<Dit, DitConfig>},
      {"UMT5EncoderModel", check_network<Umt5Encoder, Umt5Config>},
      {"WanTransformer3DModel", check_network<WanTransformer, WanTransformerConfig>},
  };
  return checks;
}

bool is_dit(const Component& part) {
  return part.class_name == "DiTTransformer2DModel" || part.class_name == "Transformer2DModel";
}

bool is_convolution(const TensorFile& file, const char* name, int64_t dims) {
  const at::Tensor* found = file.find(name);
  return found && found->dim() == dims;
}

/// The class whose names the tensors bear; "" for others.
std::string class_of(const TensorFile& file) {
  const TensorFile text = with_our_names(file, "UMT5EncoderModel");
  if (text.find("shared.weight") && text.find("encoder.final_layer_norm.weight")) return "UMT5EncoderModel";
  constexpr const char* kConvolution = "decoder.conv_in.weight";
  if (is_convolution(with_our_names(file, "AutoencoderKLWan"), kConvolution, 5)) return "AutoencoderKLWan";
  if (is_convolution(autoencoder_kl_tensors(file), kConvolution, 4)) return "AutoencoderKL";
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
  const TensorFile ours = with_our_names(file, class_name);
  if (class_name == "UMT5EncoderModel") return text_encoder_config_of(ours);
  if (class_name == "AutoencoderKLWan") return vae_config_of(ours);
  return {json{{"_class_name", class_name}}, file.where()};
}

Component file_component(const fs::path& path, const TensorFile& file, const std::string& class_name) {
  if (class_name == "AutoencoderKL") return open_autoencoder_kl(path);
  const bool text = class_name == "UMT5EncoderModel", classifier = is_classifier_class(class_name);
  Component part{text         ? "text_encoder"
                 : classifier ? "classifier"
                              : "vae",
                 text ? "transformers" : "diffusers",
                 class_name,
                 path.has_parent_path() ? path.parent_path() : fs::path("."),
                 {path},
                 config_beside(path, class_name)};
  if (!part.settings) part.settings = config_from_shapes(file, class_name);
  return part;
}

ModelLayout alone(const fs::path& path, Component part) {
  std::vector<std::string> missing = missing_files(part);
  ModelDir model{path, part.class_name, part.config(), {std::move(part)}};
  return {"component", std::move(model), std::move(missing)};
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

TensorFile read_part(const Component& part) {
  if (is_classifier_class(part.class_name)) return read_classifier(with_file({}, part).weights);
  return is_dit(part) ? read_dit_transformer(part) : read_component(part);
}

json config_of(const Component& part, const ClassifierOptions& classifier) {
  if (is_classifier_class(part.class_name)) return classifier_json(with_file(classifier, part));
  // Older diffusers had no class of its own for DiT; its keys are written as those of today.
  return is_dit(part) ? json(DitConfig::from_json(part.config()).to_json()) : part.config().json();
}

void check_component(const Component& part, const ClassifierOptions& classifier) {
  if (is_classifier_class(part.class_name)) {
    const ClassifierOptions options = with_file(classifier, part);
    const TensorFile file = read_classifier(options.weights);
    load_classifier(file, classifier_config(file, with_own_config(options)), options.dtype, at::kCPU);
    return;
  }
  if (const auto found = network_checks().find(part.class_name); found != network_checks().end())
    return found->second(part);
  std::string known;
  for (const auto& [name, check] : network_checks()) known += (known.empty() ? "" : ", ") + name;
  throw Error(part.folder.string() + ": class " + part.class_name + " is not supported; want one of " + known);
}

}  // namespace tessera
