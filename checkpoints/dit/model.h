#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoints/class_names.h"
#include "checkpoints/dit/layout.h"
#include "checkpoints/load_part.h"
#include "models/dit/dit.h"
#include "models/kl/autoencoder_kl.h"
#include "samplers/config.h"

namespace tessera {

/// A class-conditional model (DiTPipeline) in any of its layouts, opened and checked; its weights are still on disk.
struct DitModel {
  ModelDir folder;
  std::string layout;  ///< see recognize_dit_layout
  SamplerConfig scheduler;
  DitConfig transformer;
  AutoencoderKlConfig vae;
  ClassNames classes;
  std::vector<std::string> notes;  ///< for the user

  /// Width and height of its images.
  int64_t pixels() const { return transformer.sample_size * vae.stride(); }
  int64_t class_count() const { return transformer.num_embeds_ada_norm; }
};

/// Opens a model that recognize_dit_layout recognizes and reads every config. Class names are id2label of
/// model_index.json, or ImageNet's for a model of 1,000 classes. Throws Error naming file and key for anything missing
/// (for an autoencoder, what to pass), of an unknown class, of the wrong type, or incompatible with the other parts.
DitModel open_dit_model(const std::filesystem::path& path, const ModelOptions& options);

/// The tensors of a transformer in any layout under canonical names, mapped where possible, with positions in raster
/// order.
TensorFile read_dit_transformer(const Component& part);

/// Throws bind's Error for weights of other names or shapes, or with numbers that are not finite. The tensors stay
/// mapped: no memory is used.
void check_weights(const DitModel& model);
/// Reads one part's weights; see checkpoints/wan/model.h.
Loaded<Dit> load_transformer(const DitModel& model, const std::string& dtype, at::Device device, bool stream = false);
Loaded<AutoencoderKl> load_vae(const DitModel& model, const std::string& dtype, at::Device device);

}  // namespace tessera
