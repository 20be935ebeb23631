#include "models/attention/attention.h"

#include <cmath>
#include <map>

#include "models/attention/blocks.h"
#include "models/attention/lepe.h"
#include "models/attention/mhla.h"
#include "models/attention/mixing.h"
#include "models/attention/rope.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

constexpr int64_t kHeads = 2, kHeadDim = 6, kChannels = kHeads * kHeadDim;
constexpr double kEps = 1e-6;

/// Random weights (mixing included) by name, and the attention they were drawn for.
struct Sample {
  explicit Sample(const AttentionConfig& config) : attention(config, kHeads, kHeadDim, kEps) {
    ParamList params;
    attention.params(params, "");
    initialize(params, 7, at::kCPU);
    const at::Tensor noise = at::randn({1 << 16}, at::make_generator<at::CPUGeneratorImpl>(11), at::kFloat);
    int64_t used = 0;
    for (const auto& [name, slot, shape, init, keep_float, packable, takes_int8, low_rank] : params) {
      const int64_t count = slot->numel();
      *slot = *slot + 0.1 * noise.narrow(0, used, count).view(shape);
      used += count;
      slots[name] = slot;
    }
  }
  at::Tensor operator()(const at::Tensor& x, const Extent3& grid, NormalizerStats* stats = nullptr) const {
    return attention(x, {grid, make_rope(grid, kHeadDim, x.device()), stats});
  }

  MhlaAttention attention;
  std::map<std::string, at::Tensor*> slots;
};

AttentionConfig mhla(const Extent3& layout, Normalizer normalizer) {
  AttentionConfig config;
  config.kind = AttentionKind::kMhla;
  config.block_layout = layout;
  config.normalizer = normalizer;
  return config;
}

at::Tensor tokens(int64_t batch, const Extent3& grid) {
  return at::randn({batch, volume(grid), kChannels}, at::make_generator<at::CPUGeneratorImpl>(3), at::kFloat);
}

using Weights = std::map<std::string, at::Tensor>;

/// The weights in double, as leaves that require grad.
Weights doubled(const Sample& sample) {
  Weights weights;
  for (const auto& [name, slot] : sample.slots) weights[name] = slot->detach().to(at::kDouble).requires_grad_();
  return weights;
}

at::Tensor project(const Weights& w, const std::string& name, const at::Tensor& x) {
  return at::matmul(x, w.at(name + ".weight").t()) + w.at(name + ".bias");
}

at::Tensor rms(const at::Tensor& x, const at::Tensor& weight) {
  return x / (x.square().mean(-1, true) + kEps).sqrt() * weight;
}

/// Every token pair by its rotation alone: cos and sin of position * frequency, pairs interleaved.
at::Tensor rotate(const at::Tensor& x, const Extent3& grid) {
  at::Tensor angles = at::zeros({volume(grid), kHeadDim / 2}, at::kDouble);
  for (int64_t n = 0; n < volume(grid); ++n) {
    const std::array<int64_t, 3> place{n / (grid[1] * grid[2]), n / grid[2] % grid[1], n % grid[2]};
    for (int64_t axis = 0; axis < 3; ++axis) angles[n][axis] = static_cast<double>(place[axis]);  // one pair an axis
  }
  const at::Tensor even = x.slice(-1, 0, c10::nullopt, 2), odd = x.slice(-1, 1, c10::nullopt, 2);
  const at::Tensor c = angles.cos().unsqueeze(1), s = angles.sin().unsqueeze(1);
  return at::stack({even * c - odd * s, even * s + odd * c}, -1).flatten(-2);
}

/// Depthwise 3x3x3 by its definition.
at::Tensor convolve(const at::Tensor& v, const Extent3& grid, const at::Tensor& weight, const at::Tensor& bias) {
  const auto [T, H, W] = grid;
  const at::Tensor padded = at::constant_pad_nd(v.view({v.size(0), T, H, W, v.size(2)}), {0, 0, 1, 1, 1, 1, 1, 1});
  at::Tensor out = bias.expand({v.size(0), T, H, W, v.size(2)});
  for (int64_t i = 0; i < 27; ++i) {
    const int64_t t = i / 9, h = i / 3 % 3, w = i % 3;
    out = out + weight.flatten(1).select(1, i) * padded.narrow(1, t, T).narrow(2, h, H).narrow(3, w, W);
  }
  return out.flatten(1, 3);
}

/// MHLA token by token in double: every pair of tokens, weighted by the mixing entry of their blocks. No summaries.
struct BruteForce {
  AttentionConfig config;
  Extent3 grid;
  std::vector<int64_t> block, place;  ///< of each token
  at::Tensor mixing;                  ///< [blocks, blocks]

  BruteForce(AttentionConfig chosen, const Extent3& size, const at::Tensor& trained)
      : config(std::move(chosen)), grid(size) {
    const BlockGrid cut = cut_into_blocks(config, grid);
    mixing = mixing_for_blocks(trained.flatten(1), config.block_layout, cut.blocks);
    for (int64_t n = 0; n < volume(grid); ++n) {
      const Extent3 at{n / (grid[1] * grid[2]), n / grid[2] % grid[1], n % grid[2]};
      int64_t b = 0, p = 0;
      for (size_t axis = 0; axis < 3; ++axis) {
        b = b * cut.blocks[axis] + at[axis] / cut.size[axis];
        p = p * cut.size[axis] + at[axis] % cut.size[axis];
      }
      block.push_back(b);
      place.push_back(p);
    }
  }

  /// [N, N]: the mixing entry of (block of row, block of column).
  at::Tensor pair_weights() const {
    const at::Tensor index = at::tensor(block);
    return mixing.index_select(0, index).index_select(1, index);
  }

  /// q, k: [B, N, H, D]. Returns [B, N, H].
  at::Tensor normalizer(const at::Tensor& q, const at::Tensor& k) const {
    if (config.normalizer == Normalizer::kSums) return at::einsum("bnhd,bmhd,nm->bnh", {q, k, pair_weights()});
    std::vector<at::Tensor> rows;
    for (size_t n = 0; n < block.size(); ++n) {
      at::Tensor total = at::zeros({q.size(0), kHeads}, q.options());
      for (int64_t j = 0; j < mixing.size(0); ++j) {
        std::vector<int64_t> members, same;
        for (size_t m = 0; m < block.size(); ++m) {
          if (block[m] != j) continue;
          members.push_back(static_cast<int64_t>(m));
          if (place[m] == place[n]) same.push_back(static_cast<int64_t>(m));
        }
        const at::Tensor z = k.index_select(1, at::tensor(members)).sum(1, true);  // [B, 1, H, D]
        const at::Tensor own = q.index_select(1, at::tensor(same.empty() ? members : same));
        total = total + mixing[block[n]][j] * (own * z).sum(-1).mean(1);
      }
      rows.push_back(total);
    }
    return at::stack(rows, 1);
  }

  at::Tensor operator()(const at::Tensor& x, const Weights& w) const {
    const auto heads = [](const at::Tensor& t) { return t.unflatten(-1, {kHeads, kHeadDim}); };
    const at::Tensor q = heads(at::relu(rms(project(w, "to_q", x), w.at("norm_q.weight"))) + 1e-6);
    const at::Tensor k = heads(at::relu(rms(project(w, "to_k", x), w.at("norm_k.weight"))) + 1e-6);
    const at::Tensor v = project(w, "to_v", x);
    const at::Tensor scores = at::einsum("bnhd,bmhd->bhnm", {rotate(q, grid), rotate(k, grid)}) * pair_weights();
    at::Tensor out = at::einsum("bhnm,bmhd->bnhd", {scores, heads(v)});
    if (config.normalizer != Normalizer::kNone) out = out / (normalizer(q, k) + 1e-6).unsqueeze(-1);
    out = rms(out, w.at("g_norm.weight")).flatten(2);
    if (config.gated) out = out * at::silu(project(w, "g", x));
    if (config.lepe) out = out + convolve(v, grid, w.at("lepe.weight"), w.at("lepe.bias"));
    return project(w, "to_out.0", out);
  }
};

struct Case {
  const char* name;
  Extent3 layout, grid;
  std::optional<Extent3> block_tokens;
};

std::vector<Case> cases() {
  return {{"grid of the layout", {2, 2, 2}, {4, 2, 6}, {}},
          {"one token a block", {2, 2, 2}, {2, 2, 2}, {}},
          {"blocks do not divide the grid", {2, 2, 2}, {3, 3, 5}, {}},
          {"fewer blocks than the layout", {3, 2, 2}, {4, 2, 2}, {}},
          {"one frame", {3, 2, 2}, {1, 4, 4}, Extent3{1, 2, 2}},
          {"short clip, ragged height", {3, 2, 2}, {2, 3, 4}, Extent3{1, 2, 2}},
          {"more blocks than the layout, ragged", {2, 2, 2}, {3, 5, 5}, Extent3{1, 2, 2}}};
}

TEST(Mhla, EqualsEveryPairOfTokens) {
  for (const Case& c : cases()) {
    for (const Normalizer normalizer : {Normalizer::kSums, Normalizer::kProducts, Normalizer::kNone}) {
      SCOPED_TRACE(testing::Message() << c.name << ", normalizer " << static_cast<int>(normalizer));
      AttentionConfig config = mhla(c.layout, normalizer);
      config.block_tokens = c.block_tokens;
      config.gated = normalizer == Normalizer::kSums;
      config.lepe = normalizer != Normalizer::kNone;
      const Sample sample(config);
      const at::Tensor x = tokens(2, c.grid);
      const Weights weights = doubled(sample);
      const BruteForce brute(config, c.grid, weights.at("block_attn.conv.weight"));
      EXPECT_CLOSE(sample(x, c.grid), brute(x.to(at::kDouble), weights), 1e-5);
    }
  }
}

TEST(Mhla, GradientsEqualThoseOfEveryPairOfTokens) {
  for (const Normalizer normalizer : {Normalizer::kSums, Normalizer::kProducts, Normalizer::kNone}) {
    SCOPED_TRACE(static_cast<int>(normalizer));
    AttentionConfig config = mhla({2, 2, 2}, normalizer);
    config.block_tokens = Extent3{1, 2, 2};
    config.gated = config.lepe = true;
    const Extent3 grid{3, 3, 4};
    const Sample sample(config);
    const at::Tensor x = tokens(2, grid), direction = at::randn_like(x);
    const Weights weights = doubled(sample);
    for (const auto& [name, slot] : sample.slots) slot->requires_grad_();
    const at::Tensor leaf = x.clone().requires_grad_(), wide = x.to(at::kDouble).requires_grad_();
    (sample(leaf, grid) * direction).sum().backward();
    const BruteForce brute(config, grid, weights.at("block_attn.conv.weight"));
    (brute(wide, weights) * direction).sum().backward();
    EXPECT_CLOSE(leaf.grad(), wide.grad(), 1e-4);
    for (const auto& [name, slot] : sample.slots) {
      SCOPED_TRACE(name);
      ASSERT_TRUE(slot->grad().defined());
      EXPECT_CLOSE(slot->grad(), weights.at(name).grad(), 1e-4);
    }
  }
}

/// In float64 the same forward agrees with central differences along a random direction in x and every weight.
TEST(Mhla, GradientsEqualFiniteDifferences) {
  for (const Normalizer normalizer : {Normalizer::kSums, Normalizer::kProducts, Normalizer::kNone}) {
    SCOPED_TRACE(static_cast<int>(normalizer));
    AttentionConfig config = mhla({2, 2, 1}, normalizer);
    config.gated = config.lepe = true;
    const Extent3 grid{2, 3, 2};
    const Sample sample(config);
    std::vector<std::pair<at::Tensor, at::Tensor>> start;  // value and direction
    for (const auto& [name, slot] : sample.slots)
      start.emplace_back(slot->to(at::kDouble), at::randn(slot->sizes(), at::kDouble));
    const at::Tensor x = tokens(1, grid).to(at::kDouble), along = at::randn_like(x), weight = at::randn_like(x);
    const auto loss = [&](double step, bool record) {
      size_t i = 0;
      for (const auto& [name, slot] : sample.slots) {
        *slot = (start[i].first + step * start[i].second).requires_grad_(record);
        ++i;
      }
      return (sample((x + step * along), grid) * weight).sum();
    };
    loss(0, true).backward();
    double slope = 0;
    size_t i = 0;
    for (const auto& [name, slot] : sample.slots) slope += (slot->grad() * start[i++].second).sum().item<double>();
    const at::Tensor leaf = x.clone().requires_grad_();
    (sample(leaf, grid) * weight).sum().backward();
    slope += (leaf.grad() * along).sum().item<double>();
    const double h = 1e-6;
    const double expected = (loss(h, false).item<double>() - loss(-h, false).item<double>()) / (2 * h);
    EXPECT_NEAR(slope, expected, 1e-5 * std::abs(expected) + 1e-6);
  }
}

/// Two clips that agree on a prefix of a batch are independent of what else is in the batch.
TEST(Mhla, SamplesOfABatchDoNotMix) {
  const Sample sample(mhla({2, 2, 2}, Normalizer::kSums));
  const Extent3 grid{3, 3, 3};
  const at::Tensor x = tokens(3, grid);
  EXPECT_CLOSE(sample(x, grid).narrow(0, 1, 1), sample(x.narrow(0, 1, 1), grid), 1e-6);
}

TEST(Mhla, Bfloat16StaysClose) {
  AttentionConfig config = mhla({2, 2, 2}, Normalizer::kSums);
  config.gated = config.lepe = true;
  const Sample sample(config);
  const Extent3 grid{3, 4, 4};
  const at::Tensor x = tokens(2, grid), out = sample(x.to(at::kBFloat16), grid);
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(out.to(at::kFloat), sample(x, grid), 3e-2);
}

/// With every mixing weight at -1 the normalizer is minus the sum of all products: counted, and still finite.
TEST(Mhla, NegativeNormalizersAreCounted) {
  for (const Normalizer normalizer : {Normalizer::kSums, Normalizer::kProducts}) {
    const Sample sample(mhla({2, 1, 1}, normalizer));
    sample.slots.at("block_attn.conv.weight")->fill_(-1.0);
    const Extent3 grid{2, 2, 2};
    NormalizerStats stats;
    const at::Tensor x = tokens(1, grid);
    EXPECT_TRUE(sample(x, grid, &stats).isfinite().all().item<bool>());
    sample(x, grid, &stats);
    EXPECT_EQ(stats.values.sum().item<int64_t>(), 2 * kHeads * 8);
    EXPECT_EQ(stats.negative.sum().item<int64_t>(), 2 * kHeads * 8);
    EXPECT_EQ(stats.near_zero.sum().item<int64_t>(), 0);
  }
}

/// With clamp_mixing those of -1 count as 0, and nothing is left of the others' change of sign.
TEST(Mhla, ClampedMixingKeepsTheNormalizerPositive) {
  AttentionConfig config = mhla({2, 1, 1}, Normalizer::kSums);
  const Sample plain(config);
  config.clamp_mixing = true;
  const Sample clamped(config);
  for (const auto& [name, slot] : plain.slots) slot->copy_(*clamped.slots.at(name));
  const at::Tensor given = at::tensor({0.5f, -1.0f, -3.0f, 0.25f}).view({2, 2, 1, 1});
  clamped.slots.at("block_attn.conv.weight")->copy_(given);
  plain.slots.at("block_attn.conv.weight")->copy_(at::tensor({0.5f, 0.0f, 0.0f, 0.25f}).view({2, 2, 1, 1}));
  const Extent3 grid{2, 2, 2};
  const at::Tensor x = tokens(1, grid);
  NormalizerStats stats;
  EXPECT_TRUE(at::equal(clamped(x, grid, &stats), plain(x, grid)));
  EXPECT_EQ(stats.negative.sum().item<int64_t>(), 0);
  const auto read = AttentionConfig::from_json({nlohmann::json(config.to_json()), "config.json"});
  EXPECT_TRUE(read.clamp_mixing);
}

/// Mixing weights that cancel the eps leave a normalizer of nearly nothing: held at 1e-6, so the output stays finite.
TEST(Mhla, VanishingNormalizersAreHeldAwayFromZero) {
  const Sample sample(mhla({2, 1, 1}, Normalizer::kSums));
  const Extent3 grid{2, 2, 2};
  const at::Tensor x = tokens(1, grid);
  sample.slots.at("block_attn.conv.weight")->fill_(-1e-12);
  NormalizerStats stats;
  EXPECT_TRUE(sample(x, grid, &stats).isfinite().all().item<bool>());
  EXPECT_EQ(stats.near_zero.sum().item<int64_t>(), kHeads * 8);
  EXPECT_EQ(stats.negative.sum().item<int64_t>(), 0);
}

TEST(NormalizerStats, GuardByHand) {
  const at::Tensor n = at::tensor({2.0F, -3.0F, 0.0F, 5e-7F, -5e-7F, 1.1e-6F});
  const at::Tensor expected = at::tensor({2.0F, -3.0F, 1e-6F, 1e-6F, -1e-6F, 1.1e-6F});
  EXPECT_TRUE(at::equal(guard_normalizer(n), expected));
}

TEST(NormalizerStats, CountsByHand) {
  NormalizerStats stats;
  stats.count(at::tensor({1.0F, -2.0F, -5e-7F, 5e-7F, -0.5F, 1e-6F}).view({3, 2, 1}));  // [M, B, P]
  stats.count(at::tensor({0.0F, 1.0F}).view({1, 2, 1}));
  EXPECT_TRUE(at::equal(stats.values, at::tensor({4, 4}, at::kLong)));
  EXPECT_TRUE(at::equal(stats.near_zero, at::tensor({2, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(stats.negative, at::tensor({2, 1}, at::kLong)));
}

TEST(Mixing, LinearByHand) {
  // Distances 0, 1, 2 give 1, 1/2, 0; column sums are 3/2, 2, 3/2.
  const at::Tensor expected =
      at::tensor({2.0 / 3, 1.0 / 4, 0.0, 1.0 / 3, 1.0 / 2, 1.0 / 3, 0.0, 1.0 / 4, 2.0 / 3}, at::kFloat).view({3, 3});
  EXPECT_CLOSE(initial_mixing({1, 1, 3}, MixingTransform::kLinear), expected, 1e-6);
}

TEST(Mixing, OneBlockIsOne) {
  for (const MixingTransform transform : {MixingTransform::kLinear, MixingTransform::kCos, MixingTransform::kExp,
                                          MixingTransform::kGaussian, MixingTransform::kLocal})
    EXPECT_CLOSE(initial_mixing({1, 1, 1}, transform), at::ones({1, 1}), 1e-6);
}

TEST(Mixing, TrainedBlocksReturnTheVeryTensor) {
  const at::Tensor trained = at::randn({12, 12});
  EXPECT_TRUE(mixing_for_blocks(trained, {3, 2, 2}, {3, 2, 2}).is_same(trained));
}

TEST(Mixing, FewerBlocksAreTheFirstOnes) {
  const at::Tensor trained = at::randn({12, 12});
  const at::Tensor image = mixing_for_blocks(trained, {3, 2, 2}, {1, 2, 2});
  EXPECT_TRUE(at::equal(image, trained.narrow(0, 0, 4).narrow(1, 0, 4)));
  const at::Tensor index = at::tensor({0, 2, 4, 6}, at::kLong);  // frames 0 and 1, both rows, first column
  EXPECT_TRUE(at::equal(mixing_for_blocks(trained, {3, 2, 2}, {2, 2, 1}),
                        trained.index_select(0, index).index_select(1, index)));
}

/// From 2 blocks [[4, 1], [2, 8]] to 3: the diagonal reads 4, 6, 8, offsets keep 1 (above) and 2 (below), the corners
/// as well. Columns then sum to 8, 9, 10; the trained sums 6 and 9 read 6, 7.5, 9 at the three places.
TEST(Mixing, MoreBlocksByHand) {
  const at::Tensor trained = at::tensor({4.0, 1.0, 2.0, 8.0}, at::kFloat).view({2, 2});
  const at::Tensor raw = at::tensor({4.0, 1.0, 1.0, 2.0, 6.0, 1.0, 2.0, 2.0, 8.0}, at::kFloat).view({3, 3});
  const at::Tensor factor = at::tensor({6.0 / 8, 7.5 / 9, 9.0 / 10}, at::kFloat);
  for (size_t axis = 0; axis < 3; ++axis) {
    Extent3 two{1, 1, 1}, three{1, 1, 1};
    two[axis] = 2;
    three[axis] = 3;
    EXPECT_CLOSE(mixing_for_blocks(trained, two, three), raw * factor, 1e-6);
  }
}

/// A matrix that depends on the offsets alone is continued by its farthest entries.
TEST(Mixing, RowsForAGpuBeginAtMultiplesOf16Bytes) {
  const at::Tensor matrix = at::arange(150 * 150, at::kFloat).view({150, 150});
  const std::pair<at::ScalarType, int64_t> cases[] = {{at::kBFloat16, 152}, {at::kHalf, 152}, {at::kFloat, 152}};
  for (const auto& [dtype, stride] : cases) {
    const at::Tensor aligned = with_aligned_rows(matrix.to(dtype));
    EXPECT_EQ(aligned.sizes(), matrix.sizes());
    EXPECT_EQ(aligned.stride(0), stride);
    EXPECT_EQ(aligned.stride(0) * aligned.element_size() % 16, 0);
    EXPECT_TRUE(at::equal(aligned, matrix.to(dtype)));
  }
  EXPECT_EQ(with_aligned_rows(at::zeros({6, 6}, at::kBFloat16)).stride(0), 8);
  EXPECT_EQ(with_aligned_rows(at::zeros({8, 8}, at::kBFloat16)).stride(0), 8);
}

TEST(Mixing, OffsetsSurviveResampling) {
  const at::Tensor three = initial_mixing({3, 1, 1}, MixingTransform::kGaussian);
  const at::Tensor five = mixing_for_blocks(three, {3, 1, 1}, {5, 1, 1});
  const at::Tensor shape = five / five.diagonal();  // relative to each column's own block
  for (int64_t i = 0; i < 5; ++i)
    for (int64_t j = 0; j < 5; ++j)
      EXPECT_NEAR(shape[i][j].item<float>(), three[std::min<int64_t>(std::abs(i - j), 2)][0].item<float>(), 1e-6);
}

TEST(Mixing, ResamplingIsDifferentiable) {
  const at::Tensor trained = initial_mixing({2, 2, 2}, MixingTransform::kCos).requires_grad_();
  mixing_for_blocks(trained, {2, 2, 2}, {1, 3, 3}).sum().backward();
  EXPECT_GT(trained.grad().abs().sum().item<float>(), 0);
}

TEST(Blocks, KeepTheirNumberWithoutBlockTokens) {
  const AttentionConfig config = mhla({3, 5, 10}, Normalizer::kProducts);
  const BlockGrid trained = cut_into_blocks(config, {21, 30, 50});
  EXPECT_EQ(trained.size, (Extent3{7, 6, 5}));
  EXPECT_EQ(trained.blocks, config.block_layout);
  EXPECT_FALSE(trained.ragged());
  const BlockGrid wide = cut_into_blocks(config, {21, 30, 52});
  EXPECT_EQ(wide.size, (Extent3{7, 6, 6}));
  EXPECT_EQ(wide.blocks, (Extent3{3, 5, 9}));
  EXPECT_EQ(wide.padded, (Extent3{21, 30, 54}));
}

TEST(Blocks, KeepTheirSizeWithBlockTokens) {
  AttentionConfig config = mhla({5, 2, 2}, Normalizer::kSums);
  config.block_tokens = Extent3{1, 4, 4};
  const BlockGrid cut = cut_into_blocks(config, {9, 10, 6});
  EXPECT_EQ(cut.blocks, (Extent3{9, 3, 2}));
  EXPECT_EQ(cut.padded, (Extent3{9, 12, 8}));
  EXPECT_TRUE(cut.ragged());
}

TEST(Lepe, EqualsTheDefinition) {
  const at::Tensor weight = at::randn({4, 1, 3, 3, 3}), bias = at::randn({4});
  for (const Extent3& grid : {Extent3{1, 3, 4}, Extent3{2, 1, 3}, Extent3{4, 3, 2}}) {
    const at::Tensor x = at::randn({2, volume(grid), 4});
    const at::Tensor expected = convolve(x.to(at::kDouble), grid, weight.to(at::kDouble), bias.to(at::kDouble));
    EXPECT_CLOSE(depthwise_3d(x, grid, weight, bias), expected, 1e-6);
  }
}

TEST(Attention, ConfigNamesTheKeyAtFault) {
  const auto message = [](const char* text) -> std::string {
    try {
      AttentionConfig::from_json({nlohmann::json::parse(text), "config.json: attention"});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message(R"({"kind": "mhlaa", "block_layout": [1, 1, 1]})").find("mhla"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "mhla"})").find("block_layout"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "mhla", "block_layout": [0, 1, 1]})").find("block_layout"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "mhla", "block_layout": [1, 1]})").find("block_layout"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "mhla", "block_layout": [1, 1, 1], "gate": true})").find("gated"), std::string::npos);
  EXPECT_NE(message(R"({"kind": "mhla", "block_layout": [1, 1, 1], "normalizer": "x"})").find("products"),
            std::string::npos);
  EXPECT_EQ(message(R"({"kind": "mhla", "block_layout": [5, 2, 2], "softmax_layers": [1]})"), "");
}

}  // namespace
}  // namespace tessera
