#include "claims/denoiser_measures.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "metrics/classifier_extractor.h"
#include "metrics/frechet.h"
#include "metrics/statistics.h"
#include "training/evaluator.h"
#include "training/flow_loss.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

constexpr uint64_t kReferenceSeed = 44001;
constexpr int64_t kFrameStep = 4;

/// Frames [3, T, H, W] in [-1, 1], every fourth of them, added as features of pictures.
void add_frames(const at::Tensor& frames, const ClassifierExtractor& network, FeatureStatistics& statistics) {
  const at::Tensor chosen = frames.slice(1, 0, c10::nullopt, kFrameStep).transpose(0, 1);  // [T', 3, H, W]
  statistics.add(network.features((chosen.clamp(-1, 1) + 1) * 127.5).pool);
}

}  // namespace

int64_t tokens_of(const DenoiserTrainConfig& config) {
  const auto model = WanTransformerConfig::from_json(JsonConfig(config.transformer, "transformer"));
  const auto vae = WanVaeConfig::from_json(open_component(config.vae).config());
  const auto [pt, ph, pw] = model.patch_size;
  int64_t most = 0;
  for (const SceneSize& size : config.sizes)
    most = std::max(most, (1 + (size.frames - 1) / vae.temporal_stride()) / pt *
                              (size.height / vae.spatial_stride() / ph) * (size.width / vae.spatial_stride() / pw));
  return most;
}

std::map<std::string, double> measure_denoiser(const DenoiserTrainConfig& config, const DenoiserChecks& checks,
                                               const std::filesystem::path& features) {
  const c10::NoGradGuard no_gradients;
  const auto model = open_scene_model(config.output, config.run.dtype);
  const SceneRenderer renderer;
  const ClassifierExtractor network(features, at::kCPU);
  const SceneSize& size = config.sizes.back();
  FeatureStatistics generated(network.info().dims), rendered(network.info().dims);
  for (int64_t i = 0; i < checks.prompts; ++i) {
    const Scene scene = sample_scene(kReferenceSeed, static_cast<uint64_t>(i), size.video());
    add_frames(renderer.clip(scene, size.frames, size.height, size.width), network, rendered);
  }
  const SceneSampling sampling{.frames = size.frames,
                               .height = size.height,
                               .width = size.width,
                               .steps = checks.steps,
                               .guidance = checks.guidance,
                               .flow_shift = checks.shift};
  const MakeFrames make = [&](const std::vector<std::string>& prompts, const std::vector<uint64_t>& seeds, bool) {
    const auto frames = model->sample(prompts, seeds, sampling);
    for (const at::Tensor& clip : frames) add_frames(clip, network, generated);
    return frames;
  };
  const Score score = evaluate(SceneReader(renderer), make,
                               {.split = Split::kTraining,
                                .video = size.video(),
                                .count = checks.prompts,
                                .batch = std::min(checks.batch, checks.prompts)});
  const auto side = [](const FeatureStatistics& statistics) {
    return statistics.gaussian(CovarianceDivisor::kCountMinusOne);
  };
  return {{"adherence", static_cast<double>(score.all) / static_cast<double>(score.total)},
          {"distance", frechet_distance(side(generated), side(rendered))},
          {"validation_loss", validation_flow_loss(*model, renderer, size, checks.loss_scenes,
                                                   size.video() ? config.video_shift : config.image_shift)}};
}

}  // namespace tessera
