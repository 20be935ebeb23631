#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "checkpoints/model_layout.h"
#include "weights/safetensors.h"

namespace tessera {

struct Job;
struct ModelInfo;
class LoraShelf;
class Renderer;
enum class WeightCheck;

/// The denoiser of a family, a component of one of its classes, whether the rest of a model is there or not.
struct Denoiser {
  std::vector<std::string> classes;  ///< in configs; convert writes the first
  /// The tensors of any layout under canonical names, mapped where possible.
  TensorFile (*read)(const Component& part);
  /// config.json in the keys of diffusers.
  nlohmann::json (*config)(const Component& part);
  /// Checks the weights against the network that the config describes. Throws Error.
  void (*check)(const Component& part, WeightCheck depth);
  /// The names of the matrices that convert quantizes: see matrices_of.
  std::set<std::string> (*matrices)(const Component& part);
  /// Adds what the config says of the attention. Throws Error for an invalid one.
  void (*describe)(const Component& part, ModelInfo& info);
};

/// A family of models: one row of the table in pipelines/families/families.h, and all that the rest of the program
/// knows of it.
struct Family {
  std::string name;                    ///< "wan"
  std::vector<std::string> pipelines;  ///< its classes in model_index.json
  bool takes_options = false;          ///< whether ModelOptions are for it
  Denoiser denoiser;
  /// The model as a pipeline directory, whatever its layout; nullopt when `path` is something else. No weights are
  /// read. Throws Error for a model of this family that contradicts itself or `options`.
  std::optional<ModelLayout> (*recognize)(const std::filesystem::path& path, const ModelOptions& options);
  /// What a complete model renders by default, and of how many tokens. Throws Error for one that cannot run.
  void (*describe)(const std::filesystem::path& path, const ModelOptions& options, ModelInfo& info);
  /// Binds the weights of a complete model to its networks: names, shapes, finite numbers. Throws Error.
  void (*check)(const std::filesystem::path& path, const ModelOptions& options);
  /// The renderer of a complete model, with the device, dtype and options of `like`; see open_renderer.
  std::unique_ptr<Renderer> (*open)(const std::filesystem::path& path, const Job& like);
  /// The LoRAs of a complete model, whose networks are called as its parts are. Null: the family takes none.
  LoraShelf (*loras)(const std::filesystem::path& path) = nullptr;
};

using Families = std::span<const Family>;

/// Throws Error when a file is of no format that is read, or holds what is no network (a LoRA, ...), saying what it is.
void refuse_foreign_file(const std::filesystem::path& path);

/// The denoiser with that class in its config; null when no family has it.
const Denoiser* find_denoiser(const std::string& class_name, Families families);

/// A model and its family; null for a pipeline directory of a class that no family has.
struct RecognizedModel {
  ModelLayout layout;
  const Family* family = nullptr;
};

/// The model at `path` for whatever family it is of. Throws Error when it is no model (saying what it looks like), and
/// what Family::recognize throws.
RecognizedModel recognize_pipeline(const std::filesystem::path& path, Families families, const ModelOptions& options);

/// The same for a model that is to run: of a family, complete, with weights that fit (see require_fit). Throws Error,
/// for another class naming those that can run.
const Family& family_of(const std::filesystem::path& path, Families families, const ModelOptions& options);

/// Any layout that this program knows: a model of a family, or one network by itself. Throws Error when the path is
/// neither, or when `options` say something of what has no such options.
RecognizedModel recognize_model(const std::filesystem::path& path, Families families, const ModelOptions& options);

}  // namespace tessera
