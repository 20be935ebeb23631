#include "pipelines/attention_analysis.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "core/cancel.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

constexpr double kTiny = 1e-30;  // keeps the logarithm of nothing finite

int64_t rank_of(const at::Tensor& singular_values) {
  const double tolerance = static_cast<double>(singular_values.size(0)) * std::numeric_limits<float>::epsilon();
  return (singular_values > singular_values.max() * tolerance).sum().item<int64_t>();
}

/// -sum p ln p over the last axis.
at::Tensor entropy_of(const at::Tensor& shares) {
  return -(shares * shares.clamp_min(kTiny).log()).sum(-1);
}

std::string words_of(const Extent3& place) {
  return joined(std::vector<int64_t>(place.begin(), place.end()));
}

}  // namespace

HeadFigures figures_of(const at::Tensor& attention) {
  const at::Tensor A = attention.to(attention.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor values = at::linalg_svdvals(A);
  const at::Tensor sizes = A.abs();
  const at::Tensor rows = entropy_of(sizes / sizes.sum(-1, true).clamp_min(kTiny));
  const double most = std::log(static_cast<double>(A.size(0)));
  return {.rank = rank_of(values),
          .effective_rank = std::exp(entropy_of(values / values.sum().clamp_min(kTiny)).item<double>()),
          .entropy = most > 0 ? rows.mean().item<double>() / most : 0};
}

void AttentionAnalysis::begin_call(const at::Tensor& timesteps) {
  ++call_;
  layer_ = 0;
  timestep_ = timesteps[0].item<double>();
}

void AttentionAnalysis::see(const AttentionView& view) {
  throw_if_canceled();
  if (volume(view.grid) > kMostTokens)
    throw Error("the attention matrices of " + std::to_string(volume(view.grid)) +
                " tokens are too large to analyze, at most " + std::to_string(kMostTokens) +
                " tokens; choose a smaller --size or fewer --frames");
  grid_ = view.grid;
  const at::Tensor heads = view.weights.select(0, 0).detach().cpu();  // [H, N, N]
  LayerFigures figures;
  figures.call = call_;
  figures.timestep = timestep_;
  figures.layer = layer_;
  figures.kind = view.kind;
  for (int64_t head = 0; head < heads.size(0); ++head) figures.heads.push_back(figures_of(heads[head]));
  if (view.convolution.defined())
    figures.rank_with_convolution = rank_of(at::linalg_svdvals(heads[0].to(at::kFloat) + view.convolution.cpu()));
  if (view.normalizer.defined()) {
    const at::Tensor normalizer = view.normalizer.select(0, 0);
    figures.smallest_normalizer = normalizer.min().item<double>();
    figures.largest_normalizer = normalizer.max().item<double>();
  }
  layers_.push_back(std::move(figures));
  if (view.mixing.defined() && call_ == *options_.calls.begin()) map_mixing(view.mixing);
  map_token(heads.mean(0));
  ++layer_;
}

void AttentionAnalysis::map_mixing(const at::Tensor& mixing) {
  mixing_.push_back(
      {"mixing_layer" + std::to_string(layer_),
       "Mixing matrix of layer " + std::to_string(layer_) + ": rows are output blocks, columns input blocks",
       mixing.detach().cpu().to(at::kFloat)});
}

void AttentionAnalysis::map_token(const at::Tensor& weights) {
  const auto [t, h, w] = grid_;
  token_ = options_.token.value_or(Extent3{t / 2, h / 2, w / 2});
  for (size_t axis = 0; axis < 3; ++axis)
    if (token_[axis] < 0 || token_[axis] >= grid_[axis])
      throw Error("--token " + words_of(token_) + " is outside of the grid of " + words_of(grid_) +
                  " tokens (frames, rows, columns, counted from 0)");
  const int64_t row = (token_[0] * h + token_[1]) * w + token_[2];
  const at::Tensor frames = weights[row].view({t, h, w}).permute({1, 0, 2}).reshape({h, t * w});
  tokens_.push_back({"token_call" + std::to_string(call_) + "_layer" + std::to_string(layer_),
                     "Call " + std::to_string(call_) + ", layer " + std::to_string(layer_) +
                         ": what the token takes from each token, mean over heads; frames from left to right",
                     frames.to(at::kFloat)});
}

std::vector<AnalysisMap> AttentionAnalysis::maps() const {
  std::vector<AnalysisMap> all = mixing_;
  all.insert(all.end(), tokens_.begin(), tokens_.end());
  return all;
}

}  // namespace tessera
