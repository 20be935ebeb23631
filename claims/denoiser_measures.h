#pragma once

#include <map>
#include <string>

#include "claims/settings.h"
#include "training/denoiser_trainer.h"

namespace tessera {

/// Tokens that the self-attention sees of the largest of the config's sizes.
int64_t tokens_of(const DenoiserTrainConfig& config);

/// What a trained denoiser (config.output) does: "validation_loss" of the flow; "adherence", the part of the generated
/// pictures or clips of which the rules read back everything that the prompt says; "distance", the squared Frechet
/// distance between generated and rendered pictures (every fourth frame of clips) in the features of the classifier in
/// the folder `features`. Of the config's last size.
std::map<std::string, double> measure_denoiser(const DenoiserTrainConfig& config, const DenoiserChecks& checks,
                                               const std::filesystem::path& features);

}  // namespace tessera
