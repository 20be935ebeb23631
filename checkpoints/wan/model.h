#pragma once

#include <filesystem>
#include <string>

#include "checkpoints/load_part.h"
#include "models/umt5/tokenizer.h"
#include "models/umt5/umt5.h"
#include "models/wan/transformer.h"
#include "models/wan/vae.h"
#include "samplers/config.h"
#include "weights/model_dir.h"

namespace tessera {

/// A text-to-video model (WanPipeline) in any of its layouts, opened and checked; its weights are still on disk.
struct WanModel {
  ModelDir folder;
  SamplerConfig scheduler;
  Umt5Config text_encoder;
  WanTransformerConfig transformer;
  WanVaeConfig vae;

  /// Width and height of a frame must be multiples of these: the autoencoder's stride times the patch size.
  int64_t width_multiple() const { return vae.spatial_stride() * transformer.patch_size[2]; }
  int64_t height_multiple() const { return vae.spatial_stride() * transformer.patch_size[1]; }
  /// The frames of `latent_frames` latent frames: 1 + (latent_frames - 1) * stride.
  int64_t frames_of(int64_t latent_frames) const { return 1 + (latent_frames - 1) * vae.temporal_stride(); }
  /// The longest clip that fits in `frames`, in latent frames (a whole number of temporal patches).
  int64_t latent_frames_in(int64_t frames) const;
};

/// Opens a model in a layout that recognize_wan_layout knows and reads every config. Throws Error naming file and key
/// for anything missing, of an unknown class (saying which are supported), of the wrong type, or incompatible with the
/// other parts.
WanModel open_wan_model(const std::filesystem::path& path);

/// Checks names, shapes and finiteness of the transformer's and the autoencoder's weights, so that a damaged file is
/// found before hours of work. The tensors stay mapped: no memory is used. Throws bind's Error.
void check_weights(const WanModel& model);

/// Reads one part's weights. `dtype` is --dtype's value; see choose_dtype; `stream`: see load_part. The autoencoder
/// stays in float32 unless a dtype is given. Throws Error for weights that do not match.
Loaded<Umt5Encoder> load_text_encoder(const WanModel& model, const std::string& dtype, at::Device device,
                                      bool stream = false);
Loaded<WanTransformer> load_transformer(const WanModel& model, const std::string& dtype, at::Device device,
                                        bool stream = false);
Loaded<WanVae> load_vae(const WanModel& model, const std::string& dtype, at::Device device);
/// Throws Error when its ids exceed the text encoder's table.
Tokenizer load_tokenizer(const WanModel& model);

}  // namespace tessera
