#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "core/params.h"

namespace tessera {

/// Settings of Optimizer; the learning rate is given at every step.
struct OptimizerConfig {
  double beta1 = 0.9, beta2 = 0.99, eps = 1e-8;
  double weight_decay = 0.0;
  double clip_norm = 1.0;           ///< largest global L2 norm of the gradients
  double muon_momentum = 0.95;      ///< Nesterov
  double ema_decay = 0.0;           ///< 0: no moving average; ramps up as (1 + step) / (10 + step)
  std::vector<std::string> muon{};  ///< a matrix whose name contains one of these is updated by Muon, all else by AdamW
};

/// AdamW, and Muon on chosen matrices, over the float32 master weights of a parameter list.
///
/// The constructor moves the initialized weights of the list into flat buffers (slots become leaf views that require
/// gradients, whose gradients accumulate into flat buffers too), so that a step is a few operations on long vectors.
/// AdamW: Loshchilov and Hutter, arXiv:1711.05101. Muon: Keller Jordan, 2024: the momentum matrix orthogonalized by
/// five Newton-Schulz steps, times sqrt(max(1, rows / columns)).
class Optimizer {
 public:
  Optimizer(const ParamList& params, OptimizerConfig config);

  void zero_gradients();
  /// Clips, then updates every weight; returns the gradient norm before clipping. When that norm is not finite nothing
  /// is updated. `muon_rate` is used for Muon's matrices.
  double step(double rate, double muon_rate);
  int64_t steps() const { return steps_; }
  int64_t parameters() const;  ///< numbers that are trained
  /// What the slots hold; their gradients are views of gradients().
  std::vector<at::Tensor> leaves() const;
  /// All gradients, as the flat buffers that step() reads.
  std::vector<at::Tensor> gradients() const { return {adam_.gradients, muon_.gradients}; }

  /// Exchanges weights and moving averages: slots hold the averaged weights until the next swap_ema(). Throws
  /// c10::Error without ema_decay.
  void swap_ema();
  bool keeps_average() const { return config_.ema_decay > 0; }

  /// Views of everything that resuming needs: "weight/NAME", "ema/NAME", "first/NAME", "second/NAME".
  std::map<std::string, at::Tensor> state() const;
  /// Copies such a state in. Throws Error naming `where` and the tensor when one is missing or mis-shaped.
  void load(const std::map<std::string, at::Tensor>& state, int64_t steps, const std::string& where);

 private:
  struct Item {
    std::string name;
    std::vector<int64_t> shape;
    int64_t offset, count;
  };
  struct Group {
    std::vector<Item> items;
    at::Tensor values, gradients, first, second, ema;  // [n] float32; no second moment for Muon
    std::vector<at::Tensor> leaves;                    // what the slots hold
    at::Tensor view(const at::Tensor& flat, const Item& item) const;
    void mark_changed() const;
  };

  Group make_group(const std::vector<Param>& params, bool with_second) const;
  void adam_step(double rate);
  void muon_step(double rate);
  void update_ema();

  OptimizerConfig config_;
  Group adam_, muon_;
  int64_t steps_ = 0;
};

/// Averaged weights in the slots for as long as this object lives; nothing for an optimizer that keeps none.
class AveragedWeights {
 public:
  explicit AveragedWeights(Optimizer& optimizer) : optimizer_(optimizer) { swap(); }
  ~AveragedWeights() { swap(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  void swap() {
    if (optimizer_.keeps_average()) optimizer_.swap_ema();
  }

  Optimizer& optimizer_;
};

/// The orthogonal factor of each matrix of [K, R, C], nearly: five Newton-Schulz steps in bfloat16, singular values
/// land between about 0.7 and 1.2. Returns float32.
at::Tensor orthogonalize(const at::Tensor& matrices);

/// The learning rate over its base at `progress` in [0, 1] of a run: linear warm-up over the first `warmup`, constant,
/// then linear decay to `floor` over the last `decay` (0: none).
double trapezoid(double progress, double warmup, double decay, double floor);

}  // namespace tessera
