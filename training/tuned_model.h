#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/params.h"
#include "training/data_encoder.h"
#include "training/finetune_config.h"
#include "weights/model_dir.h"

namespace tessera {

/// How a sheet's samples are drawn.
struct SheetSampling {
  int64_t steps = 25;
  double guidance = 5, shift = 3;
  at::ScalarType dtype = at::kBFloat16;
};

/// A model whose transformer is fine-tuned, whatever its family.
class TunedModel {
 public:
  virtual ~TunedModel() = default;

  virtual const ModelDir& folder() const = 0;
  virtual EncodedBy encoded_by() const = 0;
  /// The transformer that is trained: the model's own, or the one that the config names.
  virtual const Component& part() const = 0;
  /// Its tensors under canonical names, mapped.
  virtual TensorFile weights() const = 0;
  virtual void params(ParamList& out) = 0;
  /// Whether full training changes that weight.
  virtual bool trains(const std::string& name) const = 0;
  /// See models/recomputed.h.
  virtual void set_recompute(bool recompute) = 0;

  /// The times in (0, 1) that it is trained at.
  virtual FlowTimes times() const = 0;
  /// The loss of a batch computed in `dtype`, a float32 scalar.
  virtual at::Tensor loss(const FlowBatch& batch, at::ScalarType dtype) const = 0;
  /// Samples with latents [z, t, h, w] for text states of the cache, with noise of the seeds 0, 1, ...: frames
  /// [3, T, H, W] in [-1, 1] each. `empty` are the states without a caption; all are on the weights' device.
  virtual std::vector<at::Tensor> draw(const std::vector<int64_t>& shape, const std::vector<at::Tensor>& texts,
                                       const at::Tensor& empty, const SheetSampling& sampling) const = 0;
};

/// Opens the model of a config and its transformer, whose weights are still on disk. Throws Error for models that
/// cannot be trained and settings that do not fit the family.
std::unique_ptr<TunedModel> open_tuned_model(const FinetuneConfig& config);
std::unique_ptr<TunedModel> open_tuned_wan(const FinetuneConfig& config);
std::unique_ptr<TunedModel> open_tuned_dit(const FinetuneConfig& config);

}  // namespace tessera
