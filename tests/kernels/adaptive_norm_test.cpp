#include "kernels/adaptive_norm.h"

#include <ATen/Parallel.h>

#include "tests/support/gradients.h"
#include "tests/support/instruction_sets.h"

namespace tessera {
namespace {

using test::noise;

TEST(AdaptiveNorm, ByHand) {
  // (1, 3) has mean 2 and variance 1: (-1, 1) * (1 + 1, 1 + 0.5) + (10, 20).
  const at::Tensor x = at::tensor({1.0F, 3.0F}).view({1, 1, 2}), shift = at::tensor({10.0F, 20.0F}).view({1, 1, 2});
  const at::Tensor scale = at::tensor({1.0F, 0.5F}).view({1, 1, 2});
  test::for_each_instruction_set([&] {
    EXPECT_CLOSE(adaptive_norm(x, shift, scale, 0.0), at::tensor({8.0F, 21.5F}).view({1, 1, 2}), 1e-6);
  });
}

TEST(AdaptiveNorm, EveryVariantEqualsFloat64) {
  test::for_each_instruction_set([] {
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t width : {1, 6, 16, 17, 40, 192}) {
        SCOPED_TRACE(testing::Message() << dtype << ", " << width << " wide");
        const at::Tensor x = (noise({3, 70, width}, 1) + 5).to(dtype);
        const at::Tensor both = noise({3, 2, width}, 2).to(dtype);
        const auto m = both.chunk(2, 1);
        const auto exact = [](const at::Tensor& t) { return t.to(at::kDouble); };
        const at::Tensor want = adaptive_norm_composite(exact(x), exact(m[0]), exact(m[1]), 1e-3);
        const at::Tensor y = adaptive_norm(x, m[0], m[1], 1e-3);
        EXPECT_EQ(y.scalar_type(), dtype);
        EXPECT_CLOSE(y, want, dtype == at::kFloat ? 2e-6 : 4e-3);
      }
  });
}

TEST(AdaptiveNorm, RowsDoNotDependOnOthersNorOnThreads) {
  const at::Tensor x = noise({2, 600, 100}, 1), shift = noise({2, 1, 100}, 2), scale = noise({2, 1, 100}, 3);
  const at::Tensor all = adaptive_norm(x, shift, scale, 1e-6);
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(adaptive_norm(x, shift, scale, 1e-6), all));
  at::set_num_threads(before);
  const at::Tensor one =
      adaptive_norm(x[1].narrow(0, 7, 1).unsqueeze(0), shift[1].unsqueeze(0), scale[1].unsqueeze(0), 1e-6);
  EXPECT_TRUE(at::equal(one[0][0], all[1][7]));
}

TEST(AdaptiveNorm, GradientsTakeTheComposite) {
  at::Tensor x = noise({1, 3, 8}, 1).requires_grad_();
  adaptive_norm(x, noise({1, 1, 8}, 2), noise({1, 1, 8}, 3), 1e-6).sum().backward();
  EXPECT_TRUE(x.grad().defined());
}

}  // namespace
}  // namespace tessera
