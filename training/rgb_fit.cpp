#include "training/rgb_fit.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/error.h"
#include "core/transfer.h"
#include "training/export.h"
#include "weights/bind.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

constexpr uint64_t kScenes = 77003;
constexpr int64_t kCount = 192;

at::Tensor per_channel(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).view({1, -1, 1, 1, 1});
}

/// Frames [1, 3, T, H, W] averaged over what each latent cell covers: [1, 3, t, h, w]. The first frame has a latent
/// frame of its own.
at::Tensor cell_colors(const at::Tensor& frames, int64_t time_stride, int64_t stride) {
  const at::Tensor small = at::avg_pool3d(frames, {1, stride, stride});
  const at::Tensor first = small.narrow(2, 0, 1);
  if (small.size(2) == 1) return first;
  return at::cat({first, at::avg_pool3d(small.narrow(2, 1, small.size(2) - 1), {time_stride, 1, 1})}, 2);
}

/// The sums that least squares needs, of rows [latents, 1] against colors.
struct Sums {
  at::Tensor rows, colors;  // [C + 1, C + 1], [C + 1, 3]
  double squares = 0, count = 0;

  void add(const at::Tensor& latents, const at::Tensor& target) {
    const at::Tensor flat = latents[0].flatten(1);  // [C, cells]
    const at::Tensor x = at::cat({flat, at::ones({1, flat.size(1)}, at::kDouble)});
    const at::Tensor y = target[0].flatten(1);  // [3, cells]
    const at::Tensor products = x.matmul(x.t()), matches = x.matmul(y.t());
    rows = rows.defined() ? rows + products : products;
    colors = colors.defined() ? colors + matches : matches;
    squares += y.square().sum().item<double>();
    count += static_cast<double>(y.numel());
  }

  at::Tensor solve() const {
    const at::Tensor ridge = 1e-6 * count * at::eye(rows.size(0), at::kDouble);
    return at::linalg_solve(rows + ridge, colors);  // [C + 1, 3]
  }

  /// sum |y - x w|^2 / count.
  double mean_error(const at::Tensor& w) const {
    const double explained = (w * (2 * colors - rows.matmul(w))).sum().item<double>();
    return (squares - explained) / count;
  }
};

double four_decimals(double value) {
  return std::round(value * 1e4) / 1e4;
}

}  // namespace

RgbFit fit_latent_rgb(const WanVae& vae, const LatentStatistics& statistics, const SceneRenderer& renderer,
                      int64_t side, int64_t frames, at::ScalarType dtype, at::Device device) {
  const c10::NoGradGuard no_gradients;
  const WanVaeConfig& config = vae.config();
  Sums sums;
  for (int64_t i = 0; i < kCount; ++i) {
    const bool video = i % 3 == 0;
    const Scene scene = sample_scene(kScenes, static_cast<uint64_t>(i), video);
    const at::Tensor clip = renderer.clip(scene, video ? frames : 1, side, side).unsqueeze(0);
    const at::Tensor mean = vae.encode(uploaded(clip, device).to(dtype)).mean.cpu().to(at::kDouble);
    const at::Tensor normal = (mean - per_channel(statistics.mean)) / per_channel(statistics.std);
    sums.add(normal, cell_colors(clip.to(at::kDouble), config.temporal_stride(), config.spatial_stride()));
  }
  const at::Tensor found = sums.solve();
  if (!found.isfinite().all().item<bool>())
    throw Error("the autoencoder's latents are not finite; it cannot be used", ExitCode::kFailed);
  RgbFit fit;
  for (int64_t row = 0; row < found.size(0); ++row) {
    std::array<double, 3> color{};
    for (size_t i = 0; i < color.size(); ++i)
      color[i] = four_decimals(found[row][static_cast<int64_t>(i)].item<double>());
    if (row < config.z_dim)
      fit.rgb.factors.push_back(color);
    else
      fit.rgb.bias = color;
  }
  fit.psnr = 10 * std::log10(4.0 / std::max(sums.mean_error(found), 1e-12));
  return fit;
}

void set_latent_rgb(nlohmann::json& config, const LatentRgb& rgb) {
  config["latent_rgb_factors"] = rgb.factors;
  config["latent_rgb_factors_bias"] = rgb.bias;
}

RgbFit fit_model_rgb(const std::filesystem::path& folder) {
  const ModelDir model = open_model_dir(folder);
  const Component& part = model.component("vae");
  WanVae vae(WanVaeConfig::from_json(part.config()));
  ParamList params;
  vae.params(params);
  bind(params, read_weights(part), at::kFloat, at::kCPU);
  int64_t side = 128, frames = 17;
  if (model.index.has("generation_defaults")) {
    const JsonConfig defaults = model.index.object("generation_defaults");
    side = defaults.integer("height", side);
    frames = defaults.integer("frames", frames);
  }
  const SceneRenderer renderer;
  RgbFit fit =
      fit_latent_rgb(vae, {vae.config().latents_mean, vae.config().latents_std}, renderer, side, frames, at::kFloat);
  nlohmann::json config = part.config().json();
  set_latent_rgb(config, fit.rgb);
  write_json(part.folder / "config.json", config);
  return fit;
}

}  // namespace tessera
