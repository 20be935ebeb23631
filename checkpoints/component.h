#pragma once

#include <filesystem>
#include <optional>

#include "checkpoints/classifier.h"
#include "checkpoints/family.h"

namespace tessera {

/// One network by itself, the only part of a layout "component": a folder of config.json and weights, or one file of an
/// autoencoder (Wan's or Stable Diffusion's), a UMT5 encoder or a classifier, in any of their layouts; its config is
/// the config.json beside the file when that is of its class, else what shapes say. nullopt for anything else. No
/// weights are read. (A transformer in one file is a model that lacks parts: see Family::recognize.)
std::optional<ModelLayout> recognize_component(const std::filesystem::path& path);

/// The tensors of a network of any layout under canonical names, mapped where possible.
TensorFile read_part(const Component& part, Families families);

/// Its config.json in the keys of diffusers and transformers. `classifier` says what a classifier's file does not.
nlohmann::json config_of(const Component& part, Families families, const ClassifierOptions& classifier = {});

/// Binds the weights to the network that its config describes. Throws Error when names or shapes differ, a number is
/// not finite, or this program has no such class (naming those it has).
void check_component(const Component& part, Families families, const ClassifierOptions& classifier = {});

}  // namespace tessera
