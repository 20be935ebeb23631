#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "core/params.h"
#include "models/inception/graph.h"

namespace tessera {

class DirectInception;

/// How the Inception network is to run.
enum class InceptionKernels {
  kAuto,      ///< the fastest of the two below for the machine and dtype
  kComposed,  ///< ATen's operations (oneDNN's where it helps): any device, any dtype
  kDirect     ///< our AVX-512 kernels, one picture a thread: CPU, float32 and bfloat16
};

/// The FID Inception v3 (see inception_graph.h). Fill the listed parameters, then prepare() once, then ask for
/// features.
class Inception {
 public:
  Inception();
  ~Inception();
  Inception(Inception&&) noexcept;
  Inception& operator=(Inception&&) noexcept;

  /// The names of pt_inception-2015-12-05-6726825d.pth without its counters (num_batches_tracked).
  void params(ParamList& out, const std::string& prefix = "");

  /// Folds the batch norms into the convolutions in float64 and readies the kernels for `dtype` (float32: exact,
  /// bfloat16: fast; sums are float32 in both). Throws Error when kDirect is asked for and the machine lacks it.
  void prepare(at::ScalarType dtype, InceptionKernels kernels = InceptionKernels::kAuto);

  /// pixels: [B, 3, 299, 299] float32 of any range; the network sees pixels * scale + shift, meant to be in [-1, 1].
  /// Returns [B, dims] float32, the mean over all places of the maps of that width. Throws Error for other dims.
  at::Tensor features(const at::Tensor& pixels, double scale, double shift, int64_t dims = 2048) const;

  /// [B, 2048] -> [B, 1008] float32: the classes' scores without their bias, which is what the inception score uses.
  at::Tensor logits(const at::Tensor& pooled) const;

  /// True when our own kernels run.
  bool is_direct() const { return direct_ != nullptr; }
  at::ScalarType dtype() const { return dtype_; }

 private:
  struct Layer {
    at::Tensor weight, norm_weight, norm_bias, mean, variance;  // as stored
    at::Tensor folded, bias;                                    // [out, in, rows, columns] float32, [out] float32
    at::Tensor packed;                                          // `folded` in dtype_, laid out for oneDNN where used
  };
  at::Tensor compose(const at::Tensor& pixels, double scale, double shift, const InceptionTap& tap) const;
  at::Tensor convolve(const InceptionConv& conv, const Layer& layer, const at::Tensor& x) const;

  std::vector<Layer> layers_;
  at::Tensor fc_weight_, fc_bias_;
  at::ScalarType dtype_ = at::kFloat;
  bool onednn_ = false;
  std::unique_ptr<DirectInception> direct_;
};

}  // namespace tessera
