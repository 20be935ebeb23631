#include "kernels/convolution.h"

#include <ATen/ATen.h>

namespace tessera {

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding) {
  const at::Tensor w = weight.to(x.scalar_type()), b = bias.to(x.scalar_type());
  const std::vector<int64_t> dilation(stride.size(), 1), output_padding(stride.size(), 0);
  // ATen gives small float32 batches of one to a plain loop, several times slower than oneDNN.
  if (x.is_cpu() && x.scalar_type() == at::kFloat && at::hasMKLDNN() && at::globalContext().userEnabledMkldnn())
    return at::mkldnn_convolution(x, w, b, padding, stride, dilation, /*groups=*/1);
  return at::convolution(x, w, b, stride, padding, dilation, /*transposed=*/false, output_padding, /*groups=*/1);
}

}  // namespace tessera
