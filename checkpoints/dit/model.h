#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoints/class_names.h"
#include "checkpoints/dit/layout.h"
#include "checkpoints/wan/model.h"
#include "models/dit/dit.h"
#include "models/kl/autoencoder_kl.h"
#include "samplers/config.h"

namespace tessera {

/// A class-conditional model (DiTPipeline) in any of its layouts, opened and checked; its weights are still on the
/// disk.
struct DitModel {
  ModelDir folder;
  std::string layout;  ///< see recognize_dit_layout
  SamplerConfig scheduler;
  DitConfig transformer;
  AutoencoderKlConfig vae;
  ClassNames classes;
  std::vector<std::string> notes;  ///< for the user

  /// Width and height of its pictures.
  int64_t pixels() const { return transformer.sample_size * vae.stride(); }
  int64_t class_count() const { return transformer.num_embeds_ada_norm; }
};

/// Opens a model that is_dit_model knows and reads every config. Class names are id2label of model_index.json, or
/// ImageNet's for a model of 1,000 classes. Throws Error naming file and key for what is missing (an autoencoder: what
/// to give), of an unknown class, of the wrong type, or does not fit the other parts.
DitModel open_dit_model(const std::filesystem::path& path, const DitOptions& options);

/// The tensors of a transformer of any layout under our names, mapped where they can be, its positions in raster order.
TensorFile read_dit_transformer(Component part);

/// As the functions of wan_model.h.
void check_weights(const DitModel& model);
Loaded<Dit> load_transformer(const DitModel& model, const std::string& dtype, at::Device device);
Loaded<AutoencoderKl> load_vae(const DitModel& model, const std::string& dtype, at::Device device);

}  // namespace tessera
