#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tessera {

/// How much of two sets lies within each other's balls of k nearest neighbors.
struct NeighborScores {
  double precision = 0;  ///< part of the generated set inside some ball of the real set (arXiv:1904.06991)
  double recall = 0;     ///< part of the real set inside some ball of the generated set
  double f_score = 0;    ///< harmonic mean of both
  double density = 0;    ///< real balls around a generated sample, over k (arXiv:2002.09797); may exceed 1
  double coverage = 0;   ///< part of the real balls that hold a generated sample
};

/// Scores of `generated` [N, D] against `real` [M, D] with balls out to the k-th nearest other sample of the own set.
/// Distances in float64, compared as torch-fidelity (precision, recall: <=) and prdc (density, coverage: <) do, in
/// blocks: O((N + M) D) features are read, some 64 MiB are held. Throws Error when a set has no more than k samples.
NeighborScores neighbor_scores(const at::Tensor& generated, const at::Tensor& real, int64_t k);

}  // namespace tessera
