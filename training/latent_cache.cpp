#include "training/latent_cache.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstdio>

#include "core/cancel.h"
#include "core/printable.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

/// Numbers that tell one plan and autoencoder from another: the latents of one fixed scene, and the plan's sizes.
at::Tensor fingerprint(const SceneModel& model, const SceneRenderer& renderer, const LatentCachePlan& plan) {
  const at::Tensor frame = renderer.clip(sample_scene(4711, 0, true), 1, plan.height, plan.width).unsqueeze(0);
  const at::Tensor sizes =
      at::tensor({static_cast<double>(plan.seed), plan.video ? 1.0 : 0.0, static_cast<double>(plan.count),
                  static_cast<double>(plan.frames), static_cast<double>(plan.height), static_cast<double>(plan.width)},
                 at::kFloat);
  return at::cat({sizes, model.encode(frame).flatten().cpu()});
}

at::Tensor encode_all(const SceneModel& model, const SceneRenderer& renderer, const LatentCachePlan& plan) {
  const int64_t batch = plan.video ? 2 : 16;
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < plan.count; begin += batch) {
    throw_if_canceled();
    std::vector<at::Tensor> clips;
    for (int64_t i = begin; i < std::min(begin + batch, plan.count); ++i)
      clips.push_back(renderer.clip(sample_scene(plan.seed, static_cast<uint64_t>(i), plan.video), plan.frames,
                                    plan.height, plan.width));
    parts.push_back(model.encode(at::stack(clips)).to(at::kBFloat16).cpu());
    if (begin / batch % 64 == 63)
      std::fprintf(stderr, "encoded %lld of %lld %s\n", static_cast<long long>(begin + batch),
                   static_cast<long long>(plan.count), plan.video ? "clips" : "stills");
  }
  return at::cat(parts);
}

}  // namespace

std::vector<int64_t> LatentCache::rows_of(Motion motion) const {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < size(); ++i)
    if (scene(i).motion == motion) rows.push_back(i);
  return rows;
}

int64_t draw_row(const LatentCache& cache, const std::vector<int64_t>& spinning, double spin_part, CounterRng& rng) {
  if (spin_part > 0 && !spinning.empty() && rng.uniform() < spin_part)
    return spinning[static_cast<size_t>(rng.below(static_cast<int64_t>(spinning.size())))];
  return rng.below(cache.size());
}

LatentCache load_latents(const SceneModel& model, const SceneRenderer& renderer, const LatentCachePlan& plan) {
  const c10::NoGradGuard no_gradients;
  LatentCache cache{plan.seed, plan.video, {}};
  const at::Tensor wanted = fingerprint(model, renderer, plan);
  if (std::filesystem::exists(plan.file)) {
    const TensorFile file = read_safetensors(plan.file);
    const at::Tensor found = file.at("fingerprint");
    if (found.sizes() == wanted.sizes() && at::allclose(found, wanted, 1e-2, 1e-2)) {
      cache.latents = file.at("latents");
      std::fprintf(stderr, "%lld latents from %s\n", static_cast<long long>(cache.size()),
                   printable_line(plan.file.string()).c_str());
      return cache;
    }
    std::fprintf(stderr, "%s was made with another autoencoder or plan: encoding again\n",
                 printable_line(plan.file.string()).c_str());
  }
  cache.latents = encode_all(model, renderer, plan);
  write_safetensors(plan.file, {{"fingerprint", wanted}, {"latents", cache.latents}});
  return cache;
}

}  // namespace tessera
