// Attention operators on random bfloat16 inputs, 12 heads of 128 channels as in Wan 1.3B; eager_NAME is what NAME
// replaces: scaled_dot_product_attention, and MHLA as batched products with the operations of its published code.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>

#include "core/memory_cache.h"
#include "kernels/block_attention.h"
#include "kernels/norm.h"
#include "models/attention/mhla.h"
#include "models/attention/mixing.h"
#include "models/attention/softmax.h"

namespace tessera {
namespace {

constexpr int64_t kHeads = 12, kHeadDim = 128, kChannels = kHeads * kHeadDim;

at::Tensor random_tokens(int64_t tokens) {
  return at::randn({1, tokens, kChannels}).to(at::kBFloat16);
}

void softmax(benchmark::State& state, bool eager) {
  const at::NoGradGuard inference;
  const int64_t queries = state.range(0), keys = state.range(1);
  const at::Tensor q = random_tokens(queries), k = random_tokens(keys), v = random_tokens(keys);
  const auto split = [](const at::Tensor& x) { return x.unflatten(-1, {kHeads, -1}).transpose(1, 2); };
  for ([[maybe_unused]] auto _ : state) {
    if (eager)
      at::scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2);
    else
      softmax_attention(q, k, v, kHeads);
  }
  state.counters["FLOP/s"] = benchmark::Counter(4.0 * static_cast<double>(queries * keys * kChannels),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

/// Token grids and block layouts of the sizes that are compared.
Extent3 grid_of(int64_t tokens) {
  switch (tokens) {
    case 1200:
      return {3, 20, 20};
    case 7800:
      return {13, 20, 30};
    case 31500:
      return {21, 30, 50};
    default:
      return {64, 40, 50};  // 128,000
  }
}

Extent3 layout_of(int64_t blocks) {
  return blocks == 30 ? Extent3{3, 2, 5} : blocks == 75 ? Extent3{3, 5, 5} : Extent3{3, 5, 10};
}

struct MhlaInputs {
  at::Tensor q, k, v, mixing;
  RmsNorm q_norm, k_norm, head_norm;
  Rope rope;
  BlockGrid cut;

  MhlaInputs(int64_t tokens, int64_t blocks) {
    AttentionConfig config;
    config.block_layout = layout_of(blocks);
    cut = cut_into_blocks(config, grid_of(tokens));
    q = random_tokens(tokens);
    k = random_tokens(tokens);
    v = random_tokens(tokens);
    mixing = mixing_for_blocks(initial_mixing(config.block_layout, config.transform), config.block_layout, cut.blocks);
    q_norm.weight = k_norm.weight = at::rand({kChannels}) + 0.5;
    head_norm.weight = at::rand({kHeadDim}) + 0.5;
    rope = make_rope(cut.grid, kHeadDim, at::kCPU);
  }

  at::Tensor fused() const {
    return block_attention(q, k, v,
                           {.heads = kHeads,
                            .tokens = tokens_of_blocks(cut),
                            .mixing = mixing,
                            .q_norm = q_norm.weight,
                            .k_norm = k_norm.weight,
                            .norm_eps = q_norm.eps,
                            .rotation = at::view_as_real(rope.table).view({-1, kHeadDim}),
                            .normalizer = BlockNormalizer::kSums,
                            .normalizer_eps = 1e-6,
                            .least_normalizer = kLeastNormalizer,
                            .head_norm = head_norm.weight,
                            .head_eps = head_norm.eps})
        .out;
  }

  at::Tensor eager() const {
    const BlockFeatures qs = block_features_composite(q, q_norm, rope, kHeads, cut, /*with_unrotated=*/true);
    const BlockFeatures ks = block_features_composite(k, k_norm, rope, kHeads, cut, /*with_unrotated=*/true);
    const at::Tensor summaries = at::matmul(ks.rotated.mT(), group_blocks(v, kHeads, cut));
    const at::Tensor n = mhla_normalizer(qs.unrotated, ks.unrotated, mixing, cut, Normalizer::kSums);
    const at::Tensor out = at::matmul(qs.rotated, mix_blocks(mixing, summaries)) / guard_normalizer(n);
    return ungroup_normed_composite(out, head_norm, cut, v.scalar_type());
  }
};

void mhla(benchmark::State& state, bool eager) {
  const at::NoGradGuard inference;
  const MhlaInputs inputs(state.range(0), state.range(1));
  if (!eager && !can_attend_blocks(inputs.q, inputs.k, inputs.v, kHeads)) {
    state.SkipWithError("no AVX512-BF16 here");
    return;
  }
  for ([[maybe_unused]] auto _ : state) eager ? inputs.eager() : inputs.fused();
  const double N = static_cast<double>(volume(inputs.cut.grid)), M = static_cast<double>(volume(inputs.cut.blocks));
  const double flops = (4 * N + 2 * M * M) * kHeadDim * kChannels;
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void softmax_sizes(benchmark::internal::Benchmark* b) {
  b->Args({1200, 1200})->Args({7800, 7800})->Args({7800, 512});
}

void mhla_sizes(benchmark::internal::Benchmark* b) {
  for (const int64_t tokens : {1200, 7800, 31500})
    for (const int64_t blocks : {30, 75, 150}) b->Args({tokens, blocks});
}

#define TESSERA_BENCHMARK(function, name, eager, sizes) \
  BENCHMARK_CAPTURE(function, name, eager)              \
      ->Name(#name)                                     \
      ->Apply(sizes)                                    \
      ->MeasureProcessCPUTime()                         \
      ->UseRealTime()                                   \
      ->Unit(benchmark::kMillisecond)
TESSERA_BENCHMARK(softmax, softmax, false, softmax_sizes);
TESSERA_BENCHMARK(softmax, eager_softmax, true, softmax_sizes);
TESSERA_BENCHMARK(mhla, mhla, false, mhla_sizes);
TESSERA_BENCHMARK(mhla, eager_mhla, true, mhla_sizes);
// Linear in the number of tokens.
TESSERA_BENCHMARK(mhla, mhla, false, [](auto* b) { b->Args({128000, 75}); });

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::install_memory_cache();  // as the program does, like the next
  const tessera::KeptMemory kept;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
