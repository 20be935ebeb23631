#pragma once

#include <filesystem>
#include <string>

#include "checkpoints/load_part.h"
#include "models/clip/clip_vision.h"
#include "models/umt5/tokenizer.h"
#include "models/umt5/umt5.h"
#include "models/wan/transformer.h"
#include "models/wan/vae.h"
#include "samplers/config.h"
#include "weights/model_dir.h"

namespace tessera {

/// Which denoiser of a model: Wan 2.2's A14B has one for high noise levels and one for low ones, others have the first.
enum class WanExpert { kHighNoise, kLowNoise };

/// The name of an expert's part, "transformer" or "transformer_2".
const char* part_name(WanExpert expert);

/// A text-to-video or image-to-video model (WanPipeline, WanImageToVideoPipeline) in any of its layouts, opened and
/// checked; its weights are still on disk.
struct WanModel {
  ModelDir folder;
  SamplerConfig scheduler;
  Umt5Config text_encoder;
  WanTransformerConfig transformer;
  std::optional<WanTransformerConfig> transformer_2;  ///< for low noise levels
  double boundary_ratio = 0;                          ///< transformer_2 takes timesteps below it, as a fraction of all
  bool expand_timesteps = false;  ///< a first frame is given by latents that are put in at time 0 (Wan 2.2 TI2V)
  std::optional<ClipVisionConfig> image_encoder;  ///< of Wan 2.1's image models
  WanVaeConfig vae;

  /// Whether the transformer is shown latents of pictures as further channels: it makes nothing without a picture.
  bool needs_image() const { return transformer.in_channels != vae.z_dim; }
  bool takes_image() const { return needs_image() || expand_timesteps; }
  /// Wan 2.1's models of a first picture and those of a first and a last one differ; Wan 2.2's A14B takes either.
  bool needs_last_image() const { return transformer.image_positions > 0; }
  bool takes_last_image() const { return needs_last_image() || (needs_image() && transformer.image_dim == 0); }
  /// The expert of a call at that timestep.
  WanExpert expert_at(double timestep) const;
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

/// Checks names, shapes and finiteness of the transformers', the autoencoder's and the image encoder's weights, so that
/// a damaged file is found before hours of work. The tensors stay mapped: no memory is used. Throws bind's Error.
void check_weights(const WanModel& model);

/// Reads one part's weights. `dtype` is --dtype's value; see choose_dtype; `stream`: see load_part. The text encoder
/// and the autoencoder may take another (text_encoder_dtype, autoencoder_dtype in core/device_settings.h). Throws Error
/// for weights that do not match.
Loaded<Umt5Encoder> load_text_encoder(const WanModel& model, const std::string& dtype, at::Device device,
                                      bool stream = false);
Loaded<WanTransformer> load_transformer(const WanModel& model, const std::string& dtype, at::Device device,
                                        bool stream = false, WanExpert expert = WanExpert::kHighNoise);
Loaded<ClipVision> load_image_encoder(const WanModel& model, const std::string& dtype, at::Device device);
Loaded<WanVae> load_vae(const WanModel& model, const std::string& dtype, at::Device device);
/// Throws Error when its ids exceed the text encoder's table.
Tokenizer load_tokenizer(const WanModel& model);

}  // namespace tessera
