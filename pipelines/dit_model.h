#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/job.h"
#include "models/autoencoder_kl.h"
#include "models/dit.h"
#include "pipelines/class_names.h"
#include "pipelines/dit_layout.h"
#include "pipelines/wan_model.h"
#include "samplers/config.h"
#include "samplers/guidance.h"
#include "samplers/sampler.h"

namespace tessera {

/// A class-conditional model (DiTPipeline) in any of its layouts, opened and checked; its weights are still on the
/// disk.
struct DitModel {
  ModelDir folder;
  std::string layout;  ///< see recognise_dit_layout
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

/// What the model renders when the user does not say: 50 steps and guidance 4 as DiTPipeline (250 steps of ddpm for the
/// original codes' checkpoints, guiding 3 channels for facebookresearch's), over them `generation_defaults` of its
/// model_index.json.
Job model_defaults(const DitModel& model);

/// Sampler and guidance of a job: names become canonical, guidance that has no effect is told in `notes`. Throws Error
/// for what diffusion models, this one or the sampler do not honour.
void check_sampling(Job& job, const DitModel& model, std::vector<std::string>& notes);
/// The solver of a completed job, ready for the first call.
std::unique_ptr<Sampler> sampler_of(const Job& job, const DitModel& model);
/// Whether that solver wants the channels of a learned variance.
bool takes_variance(const Job& job, const DitModel& model);
/// The guidance of a completed job.
GuidanceConfig guidance_of(const Job& job, const DitModel& model);

}  // namespace tessera
