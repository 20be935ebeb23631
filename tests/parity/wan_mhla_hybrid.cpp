// WanLinearAttentionModel of the MHLA repository, block layout of the release: softmax and MHLA layers mixed.
#include "tests/support/wan_hybrid.h"

namespace tessera {

TEST(WanMhlaHybridParity, Forward) {
  test::expect_hybrid_forward("wan_mhla_hybrid");
}

}  // namespace tessera
