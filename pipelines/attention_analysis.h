#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "models/attention/probe.h"

namespace tessera {

/// What one head's attention matrix A [N, N] is like.
struct HeadFigures {
  int64_t rank = 0;           ///< singular values above the largest * N * the float32 epsilon, as torch's matrix_rank
  double effective_rank = 0;  ///< exp of the entropy of the singular values divided by their sum (Roy & Vetterli 2007)
  double entropy = 0;         ///< of |A_ij| / sum_j |A_ij|, mean over rows, divided by ln N: 0 one token, 1 all alike
};

/// One layer in one network call, for the first sample's conditional branch.
struct LayerFigures {
  int64_t call = 0;     ///< from 1
  double timestep = 0;  ///< as the network was told
  int64_t layer = 0;
  AttentionKind kind = AttentionKind::kSoftmax;
  std::vector<HeadFigures> heads;
  std::optional<int64_t> rank_with_convolution;  ///< of the first head's matrix plus that of the convolution of v
  std::optional<double> smallest_normalizer, largest_normalizer;
};

/// A matrix to be shown as a picture.
struct AnalysisMap {
  std::string name;   ///< of a file, without extension
  std::string title;  ///< what it shows
  at::Tensor values;  ///< [rows, columns] float32
};

/// What an analysis looks at besides the figures.
struct AnalysisOptions {
  std::set<int64_t> calls;       ///< network calls to look at, from 1
  std::optional<Extent3> token;  ///< whose attention is mapped over the frames; none: the middle one
};

/// Collects figures and maps while a network runs. Memory and time grow with N^2 and N^3.
class AttentionAnalysis : public AttentionProbe {
 public:
  explicit AttentionAnalysis(AnalysisOptions options) : options_(std::move(options)) {}

  void begin_call(const at::Tensor& timesteps) override;
  bool wants_views() const override { return options_.calls.count(call_) > 0; }
  /// Throws Error for a grid of more than kMostTokens tokens, or a token outside of it.
  void see(const AttentionView& view) override;

  static constexpr int64_t kMostTokens = 4096;

  const std::vector<LayerFigures>& layers() const { return layers_; }
  /// Mixing matrices as the first call had them, then the token's attention in each call and layer, a frame beside
  /// the other.
  std::vector<AnalysisMap> maps() const;
  const Extent3& grid() const { return grid_; }
  const Extent3& token() const { return token_; }

 private:
  void map_token(const at::Tensor& weights);
  void map_mixing(const at::Tensor& mixing);

  AnalysisOptions options_;
  int64_t call_ = 0, layer_ = 0;
  double timestep_ = 0;
  Extent3 grid_{0, 0, 0}, token_{0, 0, 0};
  std::vector<LayerFigures> layers_;
  std::vector<AnalysisMap> mixing_, tokens_;
};

/// The figures of one matrix [N, N]. Computed in float32 or wider.
HeadFigures figures_of(const at::Tensor& attention);

}  // namespace tessera
