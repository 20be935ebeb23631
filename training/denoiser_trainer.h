#pragma once

#include <memory>

#include "training/latent_cache.h"
#include "training/scene_model.h"
#include "training/scene_size.h"
#include "training/trainer.h"

namespace tessera {

/// Config file of `tessera train denoiser`; see training/configs/denoiser.json.
struct DenoiserTrainConfig {
  RunConfig run;
  std::filesystem::path vae;           ///< a trained autoencoder's folder
  std::filesystem::path output;        ///< the finished model: a WanPipeline directory
  nlohmann::json text_encoder;         ///< transformers' UMT5 config without vocab_size
  nlohmann::json transformer;          ///< diffusers' WanTransformer3DModel config with our `attention`
  nlohmann::json generation_defaults;  ///< copied into model_index.json
  int64_t text_length = 24;            ///< tokens of a prompt, padding included
  int64_t side = 128, frames = 17;     ///< of the sample sheets, and of the scenes when `sizes` is not given
  /// What is trained: "scene_sizes", or else stills and clips of side x side.
  std::vector<SceneSize> sizes{};
  std::filesystem::path latents;                ///< folder that keeps the encoded scenes; the run's unless given
  double videos_from = 0.3;                     ///< fraction of the run after which clips are trained too; 1: never
  double video_part = 0.6;                      ///< fraction of the steps from then on that take clips
  double image_shift = 1.5, video_shift = 2.5;  ///< shift of the training times
  double noise_part = 0;  ///< fraction of the samples whose time is uniform in [0.9, 1), where captions alone tell
  double spin_part = 0;   ///< fraction of the clips drawn among the spinning ones alone, which change most
  double caption_dropout = 0.1;
  double muon_rate = 0.01;  ///< learning rate of the blocks' matrices
  double ema_decay = 0.998;
  double sample_shift = 2.5, sample_guidance = 3.0;  ///< of sample sheets and of the exported scheduler
  int64_t sample_steps = 25;

  static DenoiserTrainConfig read(const std::filesystem::path& path);
};

/// Trains the denoiser and the text encoder together on encoded scenes by flow matching: the velocity noise - data at a
/// logit-normal time, images first, then clips among them, each step of one size. Muon for the blocks' matrices, AdamW
/// for the rest.
class DenoiserTrainer : public Trainer {
 public:
  explicit DenoiserTrainer(DenoiserTrainConfig config);
  double step() override;

 private:
  struct Batch {
    at::Tensor latents;                 // [B, z, t, h, w] float32
    std::vector<std::string> captions;  // "" where dropped
  };
  Batch draw_batch(size_t size) const;
  at::Tensor draw_times(int64_t count, double shift) const;  // [B] in (0, 1)
  void load_scenes();
  void draw_sheet() override;
  void write_output() override;  // with the averaged weights

  DenoiserTrainConfig config_;
  SceneRenderer renderer_;
  std::string tokenizer_model_;
  std::unique_ptr<SceneModel> model_;
  ParamList params_;
  std::vector<LatentCache> scenes_;             // of each of config_.sizes
  std::vector<std::vector<int64_t>> spinning_;  // the rows of each of scenes_ that spin
};

}  // namespace tessera
