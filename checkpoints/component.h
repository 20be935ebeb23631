#pragma once

#include <filesystem>
#include <optional>

#include "checkpoints/classifier.h"
#include "checkpoints/family.h"
#include "checkpoints/load_part.h"

namespace tessera {

/// One network by itself, the only part of a layout "component": a folder of config.json and weights, or one file of an
/// autoencoder (Wan's or Stable Diffusion's), a UMT5 encoder, CLIP's vision tower or a classifier, in any of their
/// layouts; its config is the config.json beside the file when that is of its class, else what shapes say. nullopt for
/// anything else. No weights are read. (A transformer in one file is a model that lacks parts: see Family::recognize.)
std::optional<ModelLayout> recognize_component(const std::filesystem::path& path);

/// The tensors of a network of any layout under canonical names, mapped where possible.
TensorFile read_part(const Component& part, Families families);

/// Its config.json in the keys of diffusers and transformers. `classifier` says what a classifier's file does not.
nlohmann::json config_of(const Component& part, Families families, const ClassifierOptions& classifier = {});

/// The names of its matrices that convert quantizes; none for networks that are small or sensitive (autoencoders).
std::set<std::string> matrices_of(const Component& part, Families families);

/// Checks the weights against the network that the config describes. Throws Error when names, shapes or dtypes differ,
/// a number is not finite, or this program has no such class (naming those it has).
void check_component(const Component& part, Families families, WeightCheck depth,
                     const ClassifierOptions& classifier = {});

/// Why the weights of a part do not fit the network that its config describes, judged by the files' headers alone; ""
/// when they do, and for a part of a class without such a check (a scheduler, a tokenizer, other networks). What info
/// shows, and what generate and convert refuse.
std::string weight_problem(const Component& part, Families families, const ClassifierOptions& classifier = {});

/// Throws one Error that names everything the model lacks (then `advice`), and every part that has a weight_problem.
void require_fit(const ModelLayout& layout, Families families, const std::string& advice = "",
                 const ClassifierOptions& classifier = {});

}  // namespace tessera
