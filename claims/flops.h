#pragma once

#include <cstdint>
#include <functional>

namespace tessera {

/// Floating-point operations of the matrix products, convolutions and fused attentions that `work` does in ATen, on any
/// thread, a multiplication and an addition counted as two; forward and backward. A causal fused attention counts half
/// of its square. Element-wise operations, norms and reductions are not counted.
double count_flops(const std::function<void()>& work);

}  // namespace tessera
