#pragma once

#include <string>

#include "checkpoints/wan/model.h"
#include "core/job.h"
#include "pipelines/offload.h"

namespace tessera {

/// What the parts of a model take of a GPU when it renders `job`, a resolved single output: weights by the shapes and
/// dtypes of the checkpoint's headers, activations by the layers' sizes. The larger of two experts counts.
ModelBytes model_bytes(const WanModel& model, const Job& job, const std::string& dtype, at::Device device);

/// About how many bytes a call of the denoiser takes besides weights: `rows` samples of `tokens` tokens in a dtype of
/// `element` bytes. Of each token there are at once four rows of the width in the compute dtype and either six in
/// float32 (queries and keys before and after rotation, in attention) or two rows of the feed-forward's.
int64_t denoiser_activations(const WanTransformerConfig& config, int64_t rows, int64_t tokens, int64_t element);

/// The same for encoding a prompt of `tokens` tokens: three times the scores in float32, or three rows of the
/// feed-forward.
int64_t text_activations(const Umt5Config& config, int64_t tokens, int64_t element);

}  // namespace tessera
