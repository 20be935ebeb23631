#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace tessera {

/// What a step cache did in one trajectory.
struct StepCacheReport {
  int64_t calls = 0, reused = 0;  ///< of the network; reused ones did not reach it
  double largest_change = 0.0;    ///< of the input over the reused calls, see StepCache
  double mean_change = 0.0;
};

/// "step cache: 7 of 30 network calls skipped; their input had moved by 2.1% on average, 4.8% at most"
std::string step_cache_text(const StepCacheReport& report);

/// Skips network calls while their input barely moves: the change of an input x from the input y that the network
/// last saw is mean|x - y| / mean|y|, the largest of the batch; below the threshold the last output is given again. For
/// a flow model the output (noise - data) is the residual of its input per unit of time, so the solver takes a longer
/// straight step over the skipped calls. Guidance combines kept outputs as it does fresh ones.
/// Source: the idea of TeaCache, arXiv:2411.19108, which looks at the modulated input of the first block and keeps the
/// residual of the blocks, with a polynomial fitted to each model; here the model's own input and output, which needs
/// no fit and serves any model, as in EasyCache, arXiv:2507.02860.
class StepCache {
 public:
  /// Threshold 0 never reuses and measures nothing. Throws c10::Error when it is negative.
  explicit StepCache(double threshold);

  /// The kept output when `x` has barely moved since the call that gave it; undefined when the network must be asked:
  /// at the first call, for another batch size, and on the meta device.
  at::Tensor recall(const at::Tensor& x);
  /// What the network said when it was asked for `x`.
  void keep(const at::Tensor& x, const at::Tensor& output);
  /// Forgets the last output: another network answers from here on.
  void forget() { input_ = at::Tensor(); }

  StepCacheReport report() const;

 private:
  bool reuse(const at::Tensor& x);

  double threshold_;
  at::Tensor input_, output_;  // of the last call that reached the network
  StepCacheReport report_;
  double sum_of_changes_ = 0.0;
};

}  // namespace tessera
