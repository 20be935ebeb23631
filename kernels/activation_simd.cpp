#include "kernels/activation_simd.h"

#include "kernels/simd.h"

namespace tessera {
namespace {

using namespace simd;

constexpr float kRootTwoOverPi = 0.7978845608f, kCubic = 0.044715f;

template <typename Value>
TESSERA_INLINE void forward(const Value* x, int64_t count, Value* y) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = load(x + i, count - i);
    store(v * gelu_gate(v), y + i, count - i);
  }
}

template <typename Value>
TESSERA_INLINE void backward(const Value* x, const Value* dy, int64_t count, Value* dx) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = load(x + i, count - i), gate = gelu_gate(v);
    const Floats slope = (2 * kRootTwoOverPi) * (1.0f + 3 * kCubic * v * v);
    store(load(dy + i, count - i) * gate * (1.0f + v * (1.0f - gate) * slope), dx + i, count - i);
  }
}

#define TESSERA_VARIANT(name, attribute)                                                           \
  template <typename Value>                                                                        \
  attribute void gelu_##name(const Value* x, int64_t count, Value* y) {                            \
    forward(x, count, y);                                                                          \
  }                                                                                                \
  template <typename Value>                                                                        \
  attribute void gelu_backward_##name(const Value* x, const Value* dy, int64_t count, Value* dx) { \
    backward(x, dy, count, dx);                                                                    \
  }
TESSERA_EACH_VARIANT(TESSERA_VARIANT)

}  // namespace

template <typename Value>
void gelu(const Value* x, int64_t count, Value* y) {
  TESSERA_DISPATCH(gelu, x, count, y);
}

template <typename Value>
void gelu_backward(const Value* x, const Value* dy, int64_t count, Value* dx) {
  TESSERA_DISPATCH(gelu_backward, x, dy, count, dx);
}

template void gelu(const float*, int64_t, float*);
template void gelu(const Bfloat16Bits*, int64_t, Bfloat16Bits*);
template void gelu_backward(const float*, const float*, int64_t, float*);
template void gelu_backward(const Bfloat16Bits*, const Bfloat16Bits*, int64_t, Bfloat16Bits*);

}  // namespace tessera
