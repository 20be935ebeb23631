// WanLinearAttentionModel of the MHLA repository, small block layout, normalized: softmax and MHLA layers mixed.
#include "tests/support/wan_hybrid.h"

namespace tessera {

TEST(WanMhlaHybridSmallParity, Forward) {
  test::expect_hybrid_forward("wan_mhla_hybrid_small");
}

}  // namespace tessera
