#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "training/flow_loss.h"
#include "training/lora_layers.h"
#include "training/run.h"

namespace tessera {

/// What is trained.
enum class TuneMethod {
  kLora,  ///< thin matrices beside frozen weights
  kFull   ///< every weight of the transformer
};

/// Config file of `tessera train lora` and `tessera train full`; docs/training.md has its keys.
struct FinetuneConfig {
  TuneMethod method = TuneMethod::kLora;
  RunConfig run;
  std::filesystem::path model;        ///< a WanPipeline or DiTPipeline directory, or another layout for a LoRA
  std::filesystem::path transformer;  ///< a transformer's folder to start from; empty: the model's own
  std::filesystem::path cache;        ///< of `tessera train prepare`
  std::filesystem::path output;       ///< full: a new model directory; LoRA: a .safetensors file
  int64_t batch = 1, accumulate = 1;
  bool recompute = true;  ///< activation checkpointing, block by block
  double clip_norm = 1.0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double muon_rate = 0;  ///< 0: AdamW for everything; else Muon's rate for the blocks' matrices
  double ema_decay = 0;
  double caption_dropout = 0.1;
  FlowTimes times;
  bool times_given = false;  ///< whether the file says anything of them
  double validation = 0;     ///< fraction of the items held out
  int64_t validate_every = 100;
  LoraSettings lora;
  int64_t samples = 0, sample_steps = 25;
  double sample_guidance = 5.0;

  /// Throws Error naming the file and key for anything missing, unknown or impossible.
  static FinetuneConfig read(const std::filesystem::path& path, TuneMethod method);
  /// The same for an object inside of a config; `json`'s place is named in errors.
  static FinetuneConfig from_json(const JsonConfig& json, TuneMethod method);
};

}  // namespace tessera
