#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/umt5/tokenizer.h"
#include "models/umt5/umt5.h"
#include "models/wan/transformer.h"
#include "models/wan/vae.h"
#include "training/scene_size.h"

namespace tessera {

/// How SceneModel draws: seeds[i] makes the noise of prompts[i].
struct SceneSampling {
  int64_t frames = 17, height = 128, width = 128;
  int64_t steps = 25;
  double guidance = 3.0;
  double flow_shift = 2.5;
};

/// The parts of a text-to-video model while it is being trained, with weights in memory.
struct SceneModel {
  Tokenizer tokenizer;
  Umt5Encoder text_encoder;
  WanTransformer transformer;
  WanVae vae;
  int64_t text_length = 24;              ///< tokens the transformer sees, padding included
  at::ScalarType dtype = at::kBFloat16;  ///< of activations
  at::Device device = at::kCPU;          ///< of the weights; what the functions are given may lie on the CPU

  /// Throws Error naming `where` when a size is no whole number of patches or a length no whole number of latent
  /// frames.
  void check_sizes(const std::vector<SceneSize>& sizes, const std::string& where) const;
  /// Text states [B, text_length, d_model], zero beyond each prompt.
  at::Tensor context(const std::vector<std::string>& prompts) const;
  /// (mean of the latent - latents_mean) / latents_std of frames [B, 3, T, H, W] in [-1, 1]; float32.
  at::Tensor encode(const at::Tensor& frames) const;
  /// Frames [3, T, H, W] in [-1, 1], float32 on the CPU, one tensor per prompt: Euler steps with classifier-free
  /// guidance.
  std::vector<at::Tensor> sample(const std::vector<std::string>& prompts, const std::vector<uint64_t>& seeds,
                                 const SceneSampling& sampling) const;
};

/// Reads a WanPipeline directory that `tessera train denoiser` wrote. Throws Error like open_model_dir and bind.
std::unique_ptr<SceneModel> open_scene_model(const std::filesystem::path& folder, at::ScalarType dtype,
                                             at::Device device = at::kCPU);

}  // namespace tessera
