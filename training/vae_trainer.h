#pragma once

#include "models/wan/vae.h"
#include "training/scenes.h"
#include "training/trainer.h"

namespace tessera {

/// Config file of `tessera train vae`; see training/configs/vae.json.
struct VaeTrainConfig {
  RunConfig run;
  nlohmann::json model;       ///< diffusers' AutoencoderKLWan config
  int64_t side = 128;         ///< pixels of a scene's frame
  int64_t frames = 17;        ///< of a clip
  int64_t crop = 64;          ///< side of the training crops
  double stills_part = 0.35;  ///< fraction of the run on single frames, where the network is two-dimensional
  int64_t still_batch = 48, clip_batch = 4;
  double clip_rate = 1.0;        ///< factor on the learning rate of the clip phase
  double kl_weight = 1e-4;       ///< on the mean KL of a latent value
  std::filesystem::path start;   ///< a vae directory to start from; empty: new weights
  bool train_encoder = true;     ///< false: only the decoder learns, latents stay the same; needs `start`
  std::filesystem::path output;  ///< the finished autoencoder: a diffusers vae directory

  static VaeTrainConfig read(const std::filesystem::path& path);
};

/// Trains Wan's autoencoder on crops of rendered scenes with L1 + MSE and a small KL, by AdamW.
class VaeTrainer : public Trainer {
 public:
  explicit VaeTrainer(VaeTrainConfig config);
  double step() override;

 private:
  void load_start();
  int64_t batch_size(bool clips) const { return clips ? config_.clip_batch : config_.still_batch; }
  at::Tensor samples(bool clips, int64_t first, int64_t count) const;  // of a batch: [count, 3, T, crop, crop]
  /// The loss, the mean squared error and the KL of samples, whose latents get `noise` times their deviation.
  std::vector<at::Tensor> losses(const at::Tensor& frames, const at::Tensor& noise) const;
  void draw_sheet() override;
  void write_output() override;

  VaeTrainConfig config_;
  SceneRenderer renderer_;
  WanVae vae_;
  ParamList params_;
};

/// Mean and standard deviation of every latent channel over rendered stills and clips: the config's latents_mean and
/// latents_std, of an autoencoder whose weights are on `device`. Throws Error when a value is not finite.
struct LatentStatistics {
  std::vector<double> mean, std;
};
LatentStatistics measure_latents(const WanVae& vae, const SceneRenderer& renderer, int64_t side, int64_t frames,
                                 at::ScalarType dtype, at::Device device);

}  // namespace tessera
