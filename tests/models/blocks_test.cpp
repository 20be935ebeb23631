// Tokens grouped into blocks, and the norms that group on their way.
#include "models/attention/blocks.h"

#include "tests/support/gradients.h"

namespace tessera {
namespace {

using test::expect_all_close;
using test::noise;
using test::tolerance_of;
using test::with_gradients;

struct BlockCase {
  const char* name;
  Extent3 grid, size;
  int64_t heads, head_dim;
};

const std::vector<BlockCase>& block_cases() {
  static const std::vector<BlockCase> cases{{"whole blocks", {2, 4, 6}, {1, 2, 3}, 3, 20},
                                            {"ragged blocks", {3, 3, 5}, {2, 2, 2}, 2, 6},
                                            {"one block", {1, 2, 2}, {1, 2, 2}, 1, 64}};
  return cases;
}

BlockGrid cut(const BlockCase& c) {
  AttentionConfig config;
  config.block_tokens = c.size;
  return cut_into_blocks(config, c.grid);
}

TEST(BlockFeatures, OnePassEqualsComposite) {
  for (const BlockCase& c : block_cases()) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool with_unrotated : {false, true}) {
        SCOPED_TRACE(testing::Message() << c.name << ", " << dtype << ", " << with_unrotated);
        const int64_t channels = c.heads * c.head_dim;
        const at::Tensor x = noise({2, volume(c.grid), channels}, 1).to(dtype), weight = noise({channels}, 2);
        const Rope rope = make_rope(c.grid, c.head_dim, at::kCPU);
        const auto run = [&](auto features) {
          return [&, features](const at::Tensor& a, const at::Tensor& w) {
            const BlockFeatures out = features(a, RmsNorm{w, 1e-6}, rope, c.heads, cut(c), with_unrotated);
            EXPECT_EQ(out.rotated.scalar_type(), dtype);
            EXPECT_EQ(out.unrotated.defined(), with_unrotated);
            return with_unrotated ? at::cat({out.rotated.to(at::kFloat), 2 * out.unrotated}) : out.rotated;
          };
        };
        expect_all_close(with_gradients(run(block_features), x, weight),
                         with_gradients(run(block_features_composite), x, weight), 2 * tolerance_of(dtype));
      }
    }
  }
}

TEST(UngroupNormed, OnePassEqualsComposite) {
  for (const BlockCase& c : block_cases()) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(testing::Message() << c.name << ", " << dtype);
      const BlockGrid blocks = cut(c);
      const at::Tensor x = noise({volume(blocks.blocks), 2, c.heads, volume(blocks.size), c.head_dim}, 1).to(dtype);
      const at::Tensor weight = noise({c.head_dim}, 2);
      const auto run = [&](auto ungroup) {
        return [&, ungroup](const at::Tensor& a, const at::Tensor& w) {
          return ungroup(a, RmsNorm{w, 1e-6}, blocks, dtype);
        };
      };
      expect_all_close(with_gradients(run(ungroup_normed), x, weight),
                       with_gradients(run(ungroup_normed_composite), x, weight), 2 * tolerance_of(dtype));
    }
  }
}

/// Raster order over 1 x 2 x 4 tokens in blocks of 1 x 2 x 2: the first block holds tokens 0, 1, 4, 5.
TEST(GroupBlocks, ByHand) {
  AttentionConfig config;
  config.block_tokens = Extent3{1, 2, 2};
  const at::Tensor x = at::arange(8, at::kFloat).view({1, 8, 1});
  const at::Tensor grouped = group_blocks(x, 1, cut_into_blocks(config, {1, 2, 4}));
  EXPECT_TRUE(at::equal(grouped.flatten(), at::tensor({0, 1, 4, 5, 2, 3, 6, 7}, at::kFloat)));
  // One row of three: the second block keeps one token, and zeros for the other three.
  const at::Tensor ragged = group_blocks(x.narrow(1, 1, 3), 1, cut_into_blocks(config, {1, 1, 3}));
  EXPECT_TRUE(at::equal(ragged.flatten(), at::tensor({1, 2, 0, 0, 3, 0, 0, 0}, at::kFloat)));
}

}  // namespace
}  // namespace tessera
