#include "checkpoints/wan/layouts.h"

#include <algorithm>

#include "checkpoints/wan/configs.h"
#include "checkpoints/wan/mhla_settings.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "weights/foreign_file.h"
#include "weights/names.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kVaeNames[] = {"Wan2.1_VAE.pth", "Wan2.1_VAE.safetensors", "wan_2.1_vae.safetensors"};
constexpr const char* kVae22Names[] = {"Wan2.2_VAE.pth", "Wan2.2_VAE.safetensors", "wan2.2_vae.safetensors"};
constexpr const char* kImageNames[] = {"models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
                                       "models_clip_open-clip-xlm-roberta-large-vit-huge-14.safetensors",
                                       "clip_vision_h.safetensors"};
constexpr const char* kHighNoise = "high_noise_model";
constexpr const char* kLowNoise = "low_noise_model";
constexpr const char* kTextNames[] = {"models_t5_umt5-xxl-enc-bf16.pth", "models_t5_umt5-xxl-enc-bf16.safetensors"};
constexpr const char* kTokenizerFolder = "google/umt5-xxl";
constexpr const char* kWeightKinds[] = {".safetensors", ".gguf", ".pth", ".pt", ".bin", ".ckpt"};
constexpr const char* kReleases[] = {
    "Wan2.1-T2V-1.3B",     "Wan2.1-T2V-14B",          "Wan2.1-T2V-1.3B-Diffusers",     "Wan2.1-T2V-14B-Diffusers",
    "Wan2.1-I2V-14B-480P", "Wan2.1-I2V-14B-720P",     "Wan2.1-I2V-14B-480P-Diffusers", "Wan2.1-I2V-14B-720P-Diffusers",
    "Wan2.2-TI2V-5B",      "Wan2.2-TI2V-5B-Diffusers"};
constexpr int64_t kVae22Channels = 48;
constexpr const char* kTransformerClass = "WanTransformer3DModel";
constexpr int kFoldersAbove = 3;

template <size_t N>
std::optional<fs::path> first_file(const fs::path& folder, const char* const (&names)[N]) {
  for (const char* name : names)
    if (is_file(folder / name)) return folder / name;
  return std::nullopt;
}

bool is_weights(const fs::path& path) {
  const std::string kind = path.extension().string();
  return std::find(std::begin(kWeightKinds), std::end(kWeightKinds), kind) != std::end(kWeightKinds);
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code problem;
  for (auto entry = fs::directory_iterator(folder, problem); !problem && entry != fs::directory_iterator();
       entry.increment(problem))
    paths.push_back(entry->path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Whether a file is a UMT5 encoder as those who quantize it name it: umt5-xxl-encoder-Q8_0.gguf,
/// umt5_xxl_fp8_e4m3fn_scaled.safetensors.
bool is_named_umt5(const fs::path& path) {
  return is_weights(path) && in_lower_case(path.filename().string()).starts_with("umt5");
}

/// The text encoder of a release folder: Wan's own file, or else the one that is named after UMT5.
std::optional<fs::path> text_encoder_file(const fs::path& folder) {
  if (auto own = first_file(folder, kTextNames)) return own;
  std::vector<fs::path> named;
  for (const fs::path& path : entries(folder))
    if (is_named_umt5(path) && is_file(path)) named.push_back(path);
  return named.size() == 1 ? std::optional(named.front()) : std::nullopt;
}

/// Wan 2.1's autoencoder, or the one of Wan 2.2's TI2V.
std::optional<fs::path> vae_file(const fs::path& folder, bool wan22) {
  return wan22 ? first_file(folder, kVae22Names) : first_file(folder, kVaeNames);
}

/// `folder` and those above it, nearest first.
std::vector<fs::path> with_folders_above(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> folders{folder};
  fs::path above = fs::absolute(folder, ignored).lexically_normal();
  if (!above.has_filename()) above = above.parent_path();
  for (int i = 0; i < kFoldersAbove && above.has_relative_path(); ++i) folders.push_back(above = above.parent_path());
  return folders;
}

/// Where the transformer's weights may be in a folder that is not a pipeline directory.
struct TransformerFiles {
  bool named_by_diffusers = false;  ///< diffusion_pytorch_model or model, in shards or not
  std::vector<fs::path> others;     ///< weights not known to be an autoencoder, text or image encoder
};

TransformerFiles transformer_files(const fs::path& folder) {
  TransformerFiles found;
  for (const fs::path& path : entries(folder)) {
    const std::string name = path.filename().string();
    if (name.starts_with("diffusion_pytorch_model") || name.starts_with("model.safetensors"))
      found.named_by_diffusers = true;
    const bool vae = in_lower_case(name).find("_vae") != std::string::npos;
    const bool other_part = vae || name.starts_with("clip_vision") || name.starts_with("models_") ||
                            name.starts_with("model-0") || is_named_umt5(path);
    if (is_file(path) && is_weights(path) && !other_part) found.others.push_back(path);
  }
  return found;
}

/// By any two of its own tensors: one that is missing does not make it something else.
bool is_wan_transformer(const TensorFile& file) {
  const at::Tensor* patch = file.find("patch_embedding.weight");
  int signs = patch && patch->dim() == 5;
  for (const char* name : {"condition_embedder.time_proj.weight", "blocks.0.attn1.to_q.weight"})
    signs += file.find(name) != nullptr;
  return signs >= 2;
}

Component transformer_part(const fs::path& folder, const std::string& name = "transformer") {
  return {.name = name, .library = "diffusers", .class_name = kTransformerClass, .folder = folder};
}

/// A pipeline directory may hold the transformer as Wan's own release has it, whose config.json has other keys.
void take_release_config(Component& transformer) {
  const fs::path path = transformer.folder / "config.json";
  if (!is_file(path)) return;
  const JsonConfig config = JsonConfig::read(path);
  if (!config.has("dim") || !config.has("num_heads")) return;
  transformer.settings = diffusers_transformer_config(config);
  if (!missing_files(transformer).empty()) return;
  try {
    transformer.settings =
        with_image_sizes(*transformer.settings, canonical_tensors(read_weights(transformer), kTransformerClass));
  } catch (const Error&) {  // weights that cannot be read say so where they are
  }
}

/// Builds a layout part by part.
struct Builder {
  ModelLayout layout;
  json defaults = json::object(), large_defaults = json::object();
  json options = json::object();  ///< of the pipeline
  bool wan22 = false;             ///< the parts are those of Wan 2.2's TI2V
  bool wants_image_encoder = false;

  explicit Builder(const fs::path& path)
      : layout{.name = "wan",
               .model = {.path = path,
                         .class_name = "WanPipeline",
                         .index = {json::object(), path.string()},
                         .components = {}},
               .missing = {}} {}

  const Component* find(const std::string& name) const { return layout.model.find(name); }
  void add(Component part) { layout.model.components.push_back(std::move(part)); }

  /// A network in one file, whose shapes determine its config. A damaged file counts as missing.
  void add_network(const std::string& name, const std::string& class_name, const fs::path& file,
                   JsonConfig (*config_of)(const TensorFile&)) {
    try {
      const std::string library = name == "vae" ? "diffusers" : "transformers";
      const JsonConfig config = config_of(canonical_tensors(read_tensors(file), class_name));
      add({.name = name,
           .library = library,
           .class_name = class_name,
           .folder = file.parent_path(),
           .files = {file},
           .settings = config});
    } catch (const Error& e) {
      layout.missing.emplace_back(e.what());
    }
  }

  /// Learns from a transformer's config what other parts it needs.
  void take_needs(const JsonConfig& transformer) {
    wan22 = transformer.integer("out_channels", 16) == kVae22Channels;
    wants_image_encoder = transformer.has("image_dim");
    if (transformer.integer("in_channels", 16) != transformer.integer("out_channels", 16))
      layout.model.class_name = "WanImageToVideoPipeline";
    if (wan22) options["expand_timesteps"] = true;
  }

  /// Takes the parts that are still missing from a Wan release or a pipeline directory.
  void take_parts(const fs::path& folder) {
    if (is_file(folder / "model_index.json")) {
      const ModelDir model = open_model_dir(folder);
      for (const std::string name : {"text_encoder", "tokenizer", "vae", "image_encoder"})
        if (const Component* part = model.find(name); part && !find(name) && wants(name, *part)) add(*part);
      return;
    }
    if (const auto file = text_encoder_file(folder); file && !find("text_encoder"))
      add_network("text_encoder", "UMT5EncoderModel", *file, text_encoder_config_of);
    if (is_file(folder / kTokenizerFolder / "spiece.model") && !find("tokenizer"))
      add({.name = "tokenizer",
           .library = "transformers",
           .class_name = "T5Tokenizer",
           .folder = folder / kTokenizerFolder});
    if (const auto file = vae_file(folder, wan22); file && !find("vae"))
      add_network("vae", "AutoencoderKLWan", *file, vae_config_of);
    if (const auto file = first_file(folder, kImageNames); file && wants_image_encoder && !find("image_encoder"))
      add_network("image_encoder", "CLIPVisionModel", *file, image_encoder_config_of);
  }

  /// Whether a part of another model is of the kind that this one needs.
  bool wants(const std::string& name, const Component& part) const {
    if (name == "image_encoder") return wants_image_encoder;
    return name != "vae" || part.config().boolean("is_residual", false) == wan22;
  }

  bool has_all_parts() const {
    return find("text_encoder") && find("tokenizer") && find("vae") && (!wants_image_encoder || find("image_encoder"));
  }

  void list_missing_parts(const fs::path& folder) {
    const auto say = [&](const std::string& part, const std::string& file) {
      layout.missing.push_back("no " + part + ": want " + (folder / file).string());
    };
    if (!find("text_encoder") && !text_encoder_file(folder)) say("text encoder", kTextNames[0]);
    if (!find("vae") && !vae_file(folder, wan22)) say("autoencoder", wan22 ? kVae22Names[0] : kVaeNames[0]);
    if (wants_image_encoder && !find("image_encoder") && !first_file(folder, kImageNames))
      say("image encoder", kImageNames[0]);
    if (find("tokenizer")) return;
    say("tokenizer", std::string(kTokenizerFolder) + "/spiece.model");
    if (is_file(folder / kTokenizerFolder / "tokenizer.json"))
      layout.missing.back() += " (tokenizer.json is not supported; google/umt5-xxl on the hub has spiece.model)";
  }

  ModelLayout finish(const std::string& scheduler_class, double flow_shift) {
    const fs::path& path = layout.model.path;
    const std::string where = path.string() + " (scheduler of this layout)";
    add({.name = "scheduler",
         .library = "diffusers",
         .class_name = scheduler_class,
         .folder = path,
         .settings = wan_scheduler_config(scheduler_class, flow_shift, where)});
    json index = {{"_class_name", layout.model.class_name},
                  {"generation_defaults", defaults},
                  {"generation_defaults_720p", large_defaults}};
    index.update(options);
    for (const Component& part : layout.model.components) index[part.name] = {part.library, part.class_name};
    layout.model.index = JsonConfig(index, path.string());
    return std::move(layout);
  }
};

/// Folders that may be a Wan release beside a checkpoint in `folder`, nearest first.
std::vector<fs::path> release_candidates(const fs::path& folder, const MhlaSettings& settings) {
  std::vector<fs::path> candidates{folder};
  std::vector<fs::path> roots = with_folders_above(folder);
  roots.emplace_back(".");
  for (const fs::path& part : settings.parts)
    for (const fs::path& root : roots) candidates.push_back((root / part).parent_path());
  for (const fs::path& place : {folder, folder / "pretrained_models"})
    for (const fs::path& path : entries(place))
      if (is_folder(path)) candidates.push_back(path);
  for (const fs::path& root : with_folders_above(folder))
    for (const char* release : kReleases) {
      candidates.push_back(root / release);
      candidates.push_back(root / "pretrained_models" / release);
    }
  return candidates;
}

bool holds_parts(const fs::path& folder) {
  return is_file(folder / "model_index.json") || vae_file(folder, false) || vae_file(folder, true) ||
         first_file(folder, kImageNames) || text_encoder_file(folder);
}

void take_parts_nearby(Builder& builder, const fs::path& folder, const MhlaSettings& settings) {
  for (const fs::path& candidate : release_candidates(folder, settings))
    if (!builder.has_all_parts() && holds_parts(candidate)) builder.take_parts(candidate);
  const size_t damaged = builder.layout.missing.size();
  builder.list_missing_parts(folder);
  if (builder.layout.missing.size() > damaged)
    builder.layout.missing.push_back("these parts may also be in the folder of a Wan release, such as " +
                                     (folder / kReleases[0]).string());
}

ModelLayout mhla_layout(Builder builder, Component transformer, const TensorFile& tensors) {
  const fs::path folder = transformer.folder;
  JsonConfig config = transformer_config_of(tensors);
  builder.take_needs(config);
  const MhlaSettings settings = find_mhla_settings(tensors, config, with_folders_above(folder));
  json complete = config.json();
  complete["attention"] = settings.attention;
  transformer.settings = JsonConfig(complete, tensors.where());
  builder.layout.name = "wan-mhla";
  builder.add(std::move(transformer));
  // The project's inference program: DPM-Solver++ of order 2, 50 steps, guidance 3, 800x480.
  builder.defaults = {{"width", 800}, {"height", 480},    {"frames", 81},
                      {"steps", 50},  {"cfg_scale", 3.0}, {"flow_shift", 3.0}};
  builder.defaults.update(settings.defaults);
  take_parts_nearby(builder, folder, settings);
  const json& shift = builder.defaults.at("flow_shift");
  return builder.finish("DPMSolverMultistepScheduler", shift.is_number() ? shift.get<double>() : 3.0);
}

/// config.json beside a transformer's weights, Wan's own or diffusers', or else what shapes say.
/// Throws Error for a kind of model that does not run.
JsonConfig softmax_config(const Component& transformer, const TensorFile& tensors) {
  if (const std::string other = other_wan_model(tensors); !other.empty()) throw Error(tensors.where() + ": " + other);
  const fs::path own = transformer.folder / "config.json";
  const JsonConfig config = is_file(own) ? JsonConfig::read(own) : JsonConfig(json::object(), own.string());
  if (config.has("dim")) return with_image_sizes(diffusers_transformer_config(config), tensors);
  return config.text("_class_name", "") == transformer.class_name ? config : transformer_config_of(tensors);
}

/// The shift of Wan's own programs, which no config of a release has.
void take_release_shift(Builder& builder, const JsonConfig& transformer) {
  builder.defaults = {{"flow_shift", 3.0}};  // Wan's README: 3.0 for 480p, 5.0 for 720p
  builder.large_defaults = {{"flow_shift", 5.0}};
  if (!builder.wan22 && !transformer.has("pos_embed_seq_len")) return;
  builder.defaults["flow_shift"] = builder.wan22 ? 5.0 : 16.0;  // TI2V, and a first and a last picture
  builder.large_defaults = json::object();
}

/// A transformer with softmax attention: the release folder itself, or one file.
ModelLayout softmax_layout(Builder builder, Component transformer, const std::optional<TensorFile>& tensors) {
  const fs::path folder = transformer.folder;
  JsonConfig config(json::object(), folder.string());
  if (tensors) {
    config = softmax_config(transformer, *tensors);
    builder.take_needs(config);
    transformer.settings = config;
    builder.add(std::move(transformer));
  } else if (const fs::path own = folder / "config.json"; is_file(own) && JsonConfig::read(own).has("dim")) {
    builder.take_needs(diffusers_transformer_config(JsonConfig::read(own)));
  }
  take_parts_nearby(builder, folder, {});
  take_release_shift(builder, config);
  const double shift = builder.defaults.at("flow_shift").get<double>();
  return builder.finish("UniPCMultistepScheduler", shift);
}

/// Wan 2.2's A14B: a folder with a transformer for high noise levels and one for low ones.
ModelLayout experts_layout(const fs::path& folder) {
  Builder builder(folder);
  for (const auto& [name, place] : {std::pair("transformer", kHighNoise), std::pair("transformer_2", kLowNoise)}) {
    Component expert = transformer_part(folder / place, name);
    try {
      const TensorFile tensors = canonical_tensors(read_weights(expert), kTransformerClass);
      expert.settings = softmax_config(expert, tensors);
      builder.take_needs(*expert.settings);
      builder.add(std::move(expert));
    } catch (const Error& e) {
      builder.layout.missing.emplace_back(e.what());
    }
  }
  take_parts_nearby(builder, folder, {});
  // configs/wan_t2v_A14B.py and wan_i2v_A14B.py
  const bool image = builder.layout.model.class_name == "WanImageToVideoPipeline";
  const double shift = image ? 5.0 : 12.0;
  builder.options["boundary_ratio"] = image ? 0.9 : 0.875;
  builder.defaults = {{"flow_shift", shift}};
  return builder.finish("UniPCMultistepScheduler", shift);
}

bool holds_experts(const fs::path& folder) {
  return is_folder(folder / kHighNoise) || is_folder(folder / kLowNoise);
}

/// Throws Error for a release of a kind that is not supported, saying so.
void refuse_other_wans(const fs::path& folder) {
  if (!is_file(folder / "config.json")) return;
  const JsonConfig config = JsonConfig::read(folder / "config.json");
  if (config.has("model_type") && config.has("dim")) diffusers_transformer_config(config);
}

bool is_release_folder(const fs::path& folder) {
  if (vae_file(folder, false) || vae_file(folder, true) || text_encoder_file(folder)) return true;
  if (!is_file(folder / "config.json")) return false;
  const JsonConfig config = JsonConfig::read(folder / "config.json");
  return config.has("model_type") && config.has("dim") && config.has("num_heads");
}

std::optional<ModelLayout> recognize_file(const fs::path& path) {
  if (!is_weights(path)) return std::nullopt;
  const TensorFile tensors = canonical_tensors(read_tensors(path), kTransformerClass);
  if (!is_wan_transformer(tensors)) return std::nullopt;
  Component transformer = transformer_part(path.has_parent_path() ? path.parent_path() : fs::path("."));
  transformer.files = {path};
  return has_mhla_layers(tensors) ? mhla_layout(Builder(path), transformer, tensors)
                                  : softmax_layout(Builder(path), transformer, tensors);
}

std::string said_of(const std::string& what) {
  return what.empty() ? "" : "; " + what;
}

std::optional<ModelLayout> recognize_folder(const fs::path& folder) {
  if (is_file(folder / "model_index.json")) return std::nullopt;
  if (holds_experts(folder)) return experts_layout(folder);
  const bool release = is_release_folder(folder);
  if (release) refuse_other_wans(folder);
  const TransformerFiles files = transformer_files(folder);
  Component transformer = transformer_part(folder);
  if (!files.named_by_diffusers && files.others.size() == 1) transformer.files = files.others;
  Builder builder(folder);
  std::optional<TensorFile> tensors;
  try {
    if (files.named_by_diffusers || !transformer.files.empty())
      tensors = canonical_tensors(read_weights(transformer), transformer.class_name);
  } catch (const Error& e) {
    if (!release) throw;
    builder.layout.missing.emplace_back(e.what());
  }
  std::string other;  // what is there in the transformer's place
  if (tensors && !is_wan_transformer(*tensors)) {
    other = foreign_tensors(*tensors);
    if (!other.empty()) other = tensors->where() + ": " + other;
    tensors.reset();
  }
  if (!release && !other.empty()) throw Error(other);
  if (!release && !tensors) return std::nullopt;
  const bool component = tensors && !release && is_file(folder / "config.json") &&
                         JsonConfig::read(folder / "config.json").has("_class_name");
  if (component) return std::nullopt;  // part of a pipeline directory
  if (tensors && has_mhla_layers(*tensors)) return mhla_layout(std::move(builder), std::move(transformer), *tensors);
  if (!tensors && builder.layout.missing.empty())
    builder.layout.missing.push_back(
        "no transformer: want " + (folder / "diffusion_pytorch_model.safetensors").string() +
        (files.others.size() > 1 ? "; the folder holds several other weight files: name one" : "") + said_of(other) +
        said_of(foreign_holdings(folder)));
  return softmax_layout(std::move(builder), std::move(transformer), tensors);
}

}  // namespace

std::optional<ModelLayout> recognize_wan_layout(const fs::path& path) {
  return is_folder(path) ? recognize_folder(path) : is_file(path) ? recognize_file(path) : std::nullopt;
}

std::optional<ModelLayout> recognize_wan_model(const fs::path& path) {
  if (!is_file(path / "model_index.json")) return recognize_wan_layout(path);
  const JsonConfig index = JsonConfig::read(path / "model_index.json");
  const std::string class_name = index.text("_class_name", "");
  if (class_name != "WanPipeline" && class_name != "WanImageToVideoPipeline") return std::nullopt;
  ModelLayout layout{"diffusers", open_model_dir(path), {}};
  for (Component& part : layout.model.components)
    if (part.class_name == kTransformerClass) take_release_config(part);
  return layout;
}

}  // namespace tessera
