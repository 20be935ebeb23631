#include "kernels/activation.h"

#include <limits>

#include "tests/support/gradients.h"
#include "tests/support/instruction_sets.h"

namespace tessera {
namespace {

using test::expect_all_close;
using test::noise;
using test::with_gradients;

TEST(Gelu, ByHand) {
  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  const at::Tensor x = at::tensor({0.0F, 1.0F, -1.0F, 3.0F, 100.0F, -100.0F});
  const at::Tensor expected = at::tensor({0.0F, 0.8411920F, -0.1588080F, 2.9963627F, 100.0F, 0.0F});
  EXPECT_LE((gelu_tanh(x) - expected).abs().max().item<float>(), 1e-6F);
}

TEST(Gelu, EveryVariantEqualsComposite) {
  test::for_each_instruction_set([] {
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t count : {1, 15, 16, 33, 40000}) {
        SCOPED_TRACE(testing::Message() << dtype << ", " << count << " values");
        const at::Tensor x = (3 * noise({count}, 1)).to(dtype), unused = at::ones({1});
        const auto fused = [](const at::Tensor& a, const at::Tensor& w) { return gelu_tanh(a) * w; };
        const auto plain = [](const at::Tensor& a, const at::Tensor& w) { return gelu_tanh_composite(a) * w; };
        expect_all_close(with_gradients(fused, x, unused), with_gradients(plain, x, unused),
                         2 * test::tolerance_of(dtype));
      }
  });
}

TEST(Gelu, KeepsNanVisible) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    EXPECT_TRUE(gelu_tanh(at::tensor({1.0F, nan, 2.0F}).to(dtype)).isnan()[1].item<bool>());
}

}  // namespace
}  // namespace tessera
