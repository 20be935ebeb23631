#include "training/vae_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/printable.h"
#include "core/rng.h"
#include "core/transfer.h"
#include "training/counter_rng.h"
#include "training/export.h"
#include "training/rgb_fit.h"
#include "training/sheet.h"
#include "weights/bind.h"

namespace tessera {
namespace {

constexpr uint64_t kSheetSeed = 77001, kStatisticsSeed = 77002;

/// A crop around the silhouette, where the edges are; one in eight is anywhere in the frame.
Window draw_crop(CounterRng& rng, const Scene& scene, int64_t side, int64_t crop) {
  double x = rng.uniform(-0.5, 0.5), y = rng.uniform(-0.5, 0.5);
  if (rng.below(8) != 0) {
    const Pose pose = scene.at(rng.uniform());
    x = pose.x + x * pose.size;
    y = pose.y + y * pose.size;
  }
  const auto place = [&](double center) {
    const auto start = std::lround((center + 0.5) * static_cast<double>(side) - static_cast<double>(crop) / 2.0);
    return std::clamp<int64_t>(start, 0, side - crop);
  };
  return {place(y), place(x), crop, crop};
}

double decibel(double mean_square) {
  return 10 * std::log10(4.0 / std::max(mean_square, 1e-12));
}

}  // namespace

VaeTrainConfig VaeTrainConfig::read(const std::filesystem::path& path) {
  const JsonConfig json = JsonConfig::read(path);
  std::vector<std::string> known = RunConfig::keys();
  for (const char* key : {"model", "side", "frames", "crop", "stills_part", "still_batch", "clip_batch", "clip_rate",
                          "kl_weight", "start", "train_encoder", "output"})
    known.emplace_back(key);
  json.reject_unknown(known);
  VaeTrainConfig config;
  config.run = RunConfig::from_json(json);
  config.model = json.object("model").json();
  const WanVaeConfig model = WanVaeConfig::from_json(json.object("model"));
  config.side = at_least(json, "side", config.side, 1);
  config.frames = at_least(json, "frames", config.frames, 1);
  config.crop = at_least(json, "crop", config.crop, 1);
  config.still_batch = at_least(json, "still_batch", config.still_batch, 1);
  config.clip_batch = at_least(json, "clip_batch", config.clip_batch, 1);
  config.stills_part = json.number("stills_part", config.stills_part);
  config.clip_rate = json.number("clip_rate", config.clip_rate);
  config.kl_weight = json.number("kl_weight", config.kl_weight);
  config.output = json.text("output");
  config.start = json.text("start", "");
  config.train_encoder = json.boolean("train_encoder", config.train_encoder);
  if (!config.train_encoder && config.start.empty()) json.fail("train_encoder", "can only be false with a start");
  if (config.crop % model.spatial_stride() != 0 || config.crop > config.side)
    json.fail("crop", "must be a multiple of " + std::to_string(model.spatial_stride()) + " and at most side");
  if ((config.frames - 1) % model.temporal_stride() != 0)
    json.fail("frames", "must be 1 + a multiple of " + std::to_string(model.temporal_stride()));
  return config;
}

VaeTrainer::VaeTrainer(VaeTrainConfig config)
    : Trainer(config.run),
      config_(std::move(config)),
      vae_(WanVaeConfig::from_json(JsonConfig(config_.model, "model"))) {
  vae_.params(params_);
  if (config_.start.empty())
    initialize(params_, config_.run.seed, config_.run.device);
  else
    load_start();
  ParamList trained;
  for (const Param& param : params_)
    if (config_.train_encoder || param.name.starts_with("decoder.") || param.name.starts_with("post_quant_conv."))
      trained.add(param.name, *param.slot, param.shape);
  start(trained, {});
}

void VaeTrainer::load_start() {
  const Component start = open_component(config_.start);
  bind(params_, read_weights(start), at::kFloat, config_.run.device);
  const nlohmann::json found = start.config().json();
  for (const auto& [key, value] : config_.model.items())
    if (found.contains(key) && found[key] != value)
      throw Error(config_.start.string() + "/config.json: " + key + " is " + found[key].dump() +
                  ", the model to train has " + value.dump());
  for (const char* key : {"latents_mean", "latents_std", "latent_rgb_factors", "latent_rgb_factors_bias"})
    if (found.contains(key)) config_.model[key] = found[key];
}

at::Tensor VaeTrainer::samples(bool clips, int64_t first, int64_t count) const {
  std::vector<at::Tensor> items;
  for (int64_t i = first; i < first + count; ++i) {
    const auto index = static_cast<uint64_t>(run_.step() * batch_size(clips) + i);
    CounterRng rng(config_.run.seed + 1, index);
    // Stills are frames of moving scenes too: every pose that a clip shows.
    Scene scene = sample_scene(config_.run.seed, index, clips || rng.below(2) == 0);
    scene.middle.size *= rng.uniform(0.8, 1.15);
    if (!clips) {
      scene.middle = scene.at(rng.uniform());
      scene.motion = Motion::kStill;
    }
    const Window window = draw_crop(rng, scene, config_.side, config_.crop);
    items.push_back(renderer_.clip(scene, clips ? config_.frames : 1, config_.side, config_.side, window));
  }
  return uploaded(at::stack(items), config_.run.device);
}

std::vector<at::Tensor> VaeTrainer::losses(const at::Tensor& frames, const at::Tensor& noise) const {
  const WanMoments moments = [&] {
    const c10::AutoGradMode gradients(config_.train_encoder);
    return vae_.encode(frames.to(config_.run.dtype));
  }();
  const at::Tensor mean = moments.mean.to(at::kFloat), logvar = moments.logvar.to(at::kFloat).clamp(-30, 20);
  const at::Tensor latents = mean + at::exp(0.5 * logvar) * noise;
  const at::Tensor error = vae_.decode_unclamped(latents.to(config_.run.dtype)).to(at::kFloat) - frames;
  const at::Tensor square = error.square().mean();
  const at::Tensor kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean();
  return {error.abs().mean() + square + config_.kl_weight * kl, square, kl};
}

double VaeTrainer::step() {
  const bool clips = run_.progress() >= config_.stills_part;
  const double rate = config_.run.learning_rate * run_.rate_factor() * (clips ? config_.clip_rate : 1.0);
  const at::Device device = config_.run.device;
  const uint64_t noise_seed = config_.run.seed * 1000003 + static_cast<uint64_t>(run_.step());
  const WanVaeConfig& model = vae_.config();
  const int64_t B = batch_size(clips), side = config_.crop / model.spatial_stride();
  const int64_t length = clips ? (config_.frames - 1) / model.temporal_stride() + 1 : 1;
  const at::Tensor noise = uploaded(seeded_noise({B, model.z_dim, length, side, side}, noise_seed), device);
  const std::vector<double> means = backward(B, device, [&](int64_t first, int64_t count) {
    return losses(samples(clips, first, count), noise.narrow(0, first, count));
  });
  const double norm = optimizer_->step(rate, rate);
  run_.record(clips ? "clips" : "stills", B,
              {{"loss", means[0]}, {"psnr", decibel(means[1])}, {"kl", means[2]}, {"norm", norm}});
  return means[0];
}

void VaeTrainer::draw_sheet() {
  const c10::NoGradGuard no_gradients;
  std::vector<std::vector<at::Tensor>> rows;
  double square = 0;
  const int64_t clips = 3;
  for (int64_t i = 0; i < clips; ++i) {
    const Scene scene = sample_scene(kSheetSeed, static_cast<uint64_t>(i), true);
    const at::Tensor frames =
        uploaded(renderer_.clip(scene, config_.frames, config_.side, config_.side), config_.run.device);
    const at::Tensor mean = vae_.encode(frames.unsqueeze(0).to(config_.run.dtype)).mean;
    const at::Tensor decoded = vae_.decode(mean)[0].to(at::kFloat);
    square += (decoded - frames).square().mean().item<double>() / static_cast<double>(clips);
    std::vector<at::Tensor> above, below;
    for (int64_t t = 0; t < config_.frames; t += 2) {
      above.push_back(frames.select(1, t));
      below.push_back(decoded.select(1, t));
    }
    rows.push_back(above);
    rows.push_back(below);
  }
  write_sheet(run_.file("sheet.png"), rows);
  std::fprintf(stderr, "sheet: %s, whole clips of %lld frames at %.2f dB\n",
               printable_line(run_.file("sheet.png").string()).c_str(), static_cast<long long>(config_.frames),
               decibel(square));
}

void VaeTrainer::write_output() {
  const c10::NoGradGuard no_gradients;
  nlohmann::json config = config_.model;
  if (config_.train_encoder) {
    const LatentStatistics found =
        measure_latents(vae_, renderer_, config_.side, config_.frames, config_.run.dtype, config_.run.device);
    config["latents_mean"] = found.mean;
    config["latents_std"] = found.std;
    const RgbFit colors =
        fit_latent_rgb(vae_, found, renderer_, config_.side, config_.frames, config_.run.dtype, config_.run.device);
    set_latent_rgb(config, colors.rgb);
  }
  export_component({"vae", "diffusers", "AutoencoderKLWan", config_.output}, config, params_);
  std::fprintf(stderr, "wrote %s\n", printable_line(config_.output.string()).c_str());
}

LatentStatistics measure_latents(const WanVae& vae, const SceneRenderer& renderer, int64_t side, int64_t frames,
                                 at::ScalarType dtype, at::Device device) {
  const c10::NoGradGuard no_gradients;
  const int64_t channels = vae.config().z_dim;
  at::Tensor sum = at::zeros({channels}, at::kDouble), squares = at::zeros({channels}, at::kDouble);
  double count = 0;
  for (int64_t i = 0; i < 192; ++i) {
    const bool video = i % 3 == 0;
    const Scene scene = sample_scene(kStatisticsSeed, static_cast<uint64_t>(i), video);
    const at::Tensor clip = renderer.clip(scene, video ? frames : 1, side, side).unsqueeze(0);
    const at::Tensor mean = vae.encode(uploaded(clip, device).to(dtype)).mean.cpu().to(at::kDouble)[0].flatten(1);
    sum += mean.sum(1);
    squares += mean.square().sum(1);
    count += static_cast<double>(mean.size(1));
  }
  const at::Tensor mean = sum / count, deviation = (squares / count - mean.square()).clamp_min(1e-8).sqrt();
  if (!mean.isfinite().all().item<bool>() || !deviation.isfinite().all().item<bool>())
    throw Error("the autoencoder's latents are not finite; it cannot be used", ExitCode::kFailed);
  LatentStatistics out;
  for (int64_t i = 0; i < channels; ++i) {
    out.mean.push_back(mean[i].item<double>());
    out.std.push_back(deviation[i].item<double>());
  }
  return out;
}

}  // namespace tessera
