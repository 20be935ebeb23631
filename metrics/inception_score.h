#pragma once

#include <optional>

#include "metrics/kid.h"

namespace tessera {

/// Inception score: exp of the mean KL divergence of each row's class probabilities from their split's mean, over
/// `splits` runs of rows [i N / splits, (i + 1) N / splits). logits: [N, classes]; softmax in float64. `shuffle_seed`
/// shuffles the rows as torch-fidelity does (2020 there); unset keeps their order. Rows are read in chunks.
/// Throws Error when there are fewer rows than splits. Source: arXiv:1606.03498.
ScoreSpread inception_score(const at::Tensor& logits, int64_t splits, std::optional<uint32_t> shuffle_seed);

}  // namespace tessera
