#include "kernels/block_call.h"

#include <algorithm>
#include <cmath>

#include "core/parallel_for.h"

namespace tessera {

#if defined(__x86_64__)

namespace {

constexpr int64_t kScratchBytes = 31L << 20;  // of the heads that are worked on together

at::Tensor floats(const at::Tensor& t) {
  return t.defined() ? t.to(at::kFloat).contiguous() : t;
}

}  // namespace

int64_t slots_of(int64_t heads, int64_t bytes) {
  const int64_t most = std::clamp<int64_t>(kScratchBytes / bytes, 1, heads), parts = (heads + most - 1) / most;
  return (heads + parts - 1) / parts;
}

template <typename Value>
BlockCall<Value>::BlockCall(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const BlockAttention& plan,
                            int64_t lanes)
    : plan(plan),
      tokens(plan.tokens.contiguous()),
      mixing(floats(plan.mixing)),
      q_norm(floats(plan.q_norm)),
      k_norm(floats(plan.k_norm)),
      head_norm(floats(plan.head_norm)),
      rotation(floats(plan.rotation)),
      gate(plan.gate.defined() ? plan.gate.contiguous() : plan.gate),
      B(q.size(0)),
      N(q.size(1)),
      H(plan.heads),
      D(q.size(2) / plan.heads),
      M(tokens.size(0)),
      P(tokens.size(1)),
      width((D + lanes - 1) / lanes * lanes),
      q(feature_rows(q, q_norm, q_scales_)),
      k(feature_rows(k, k_norm, k_scales_)),
      v(feature_rows(v, {}, q_scales_)) {
  list_tokens();
  result.out = at::empty({B, N, H * D}, q.options());
  if (!is(BlockNormalizer::kNone))
    result.normalizer = at::full({B, H, M, P}, plan.normalizer_eps, q.options().dtype(at::kFloat));
}

template <typename Value>
void BlockCall<Value>::keep_normalizers(int64_t slots) {
  normalizers_ = Buffer<float>(slots * M * normalizer_columns());
  mixed_normalizers_ = Buffer<float>(slots * M * normalizer_columns());
}

template <typename Value>
void BlockCall<Value>::list_tokens() {
  starts_ = {0};
  for (int64_t block = 0; block < M; ++block) {
    for (int32_t place = 0; place < P; ++place)
      if (const int32_t token = tokens_of(block)[place]; token >= 0) {
        TORCH_CHECK(token < N, "block_attention: token ", token, " of ", N);
        order_.push_back(token);
        place_of_.push_back(place);
      }
    starts_.push_back(static_cast<int64_t>(order_.size()));
  }
  TORCH_CHECK(starts_.back() == N, "block_attention: blocks hold ", starts_.back(), " of ", N, " tokens");
}

template <typename Value>
FeatureRows BlockCall<Value>::feature_rows(const at::Tensor& x, const at::Tensor& norm, at::Tensor& scales) const {
  FeatureRows rows{.data = static_cast<const uint16_t*>(x.const_data_ptr()),
                   .sample = x.stride(0),
                   .token = x.stride(1),
                   .tokens = N,
                   .channels = H * D,
                   .head_dim = D,
                   .width = width,
                   .scales = nullptr,
                   .weight = values_of<float>(norm),
                   .rotation = values_of<float>(rotation)};
  if (norm.defined()) {
    scales = at::empty({B, N}, at::kFloat);
    rows.scales = scales.mutable_data_ptr<float>();
    parallel_for(0, B * N, std::max<int64_t>(1, kValuesPerTask / rows.channels),
                 [&](int64_t begin, int64_t end) { scale_rows(rows, plan.norm_eps, begin, end); });
  }
  return rows;
}

template <typename Value>
void BlockCall<Value>::load_keys_and_values(int64_t head, const int32_t* tokens, int64_t count, int64_t steps,
                                            BlockWork<Value>& work) const {
  const int64_t sample = head / H, h = head % H;
  const auto value = [&](int64_t i) { return v.data + sample * v.sample + tokens[i] * v.token + h * D; };
  for (int64_t i = 0; i < count; i += kStep) {
    for (int64_t ahead = i + kPrefetched; ahead < std::min(i + kPrefetched + kStep, count); ++ahead) {
      prefetch_row(k, sample, h, tokens[ahead]);
      prefetch(value(ahead), D * 2);
    }
    const bool two = i + 1 < count;
    key_step(k, sample, h, tokens[i], two ? tokens[i + 1] : -1, work.keys.data + i * width, work.key_sums.data);
    pack_lanes(value(i), two ? value(i + 1) : nullptr, D, width, i / kStep, steps, work.values.data);
  }
}

template <typename Value>
void BlockCall<Value>::keep_key_sums(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  if (is(BlockNormalizer::kSums))
    for (int64_t column = 0; column < width; column += kLaneStrip)
      std::copy_n(work.key_sums.data + column, strip_width(column, width),
                  normalizers(slot) + strip_place(column, width, M, block));
  if (is(BlockNormalizer::kProducts)) query_products(head, slot, block, work);
}

/// q . z of a block's own tokens, their mean at places that have no token.
template <typename Value>
void BlockCall<Value>::query_products(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  const auto place = [&](int64_t p) -> float& {
    const int64_t strip = p / kLaneStrip * kLaneStrip;
    return normalizers(slot)[strip_place(strip, normalizer_columns(), M, block) + p - strip];
  };
  double total = 0;
  for (int64_t first = 0; first < count(block); first += kQueryChunk) {
    const int64_t chunk = std::min(kQueryChunk, count(block) - first);
    query_features(q, head / H, head % H, members(block) + first, chunk, static_cast<Value*>(nullptr),
                   work.key_sums.data, work.products);
    for (int64_t i = 0; i < chunk; ++i) {
      place(places(block)[first + i]) = work.products[i];
      total += work.products[i];
    }
  }
  const auto mean = static_cast<float>(total / static_cast<double>(std::max<int64_t>(count(block), 1)));
  for (int64_t p = 0; p < normalizer_columns(); ++p)
    if (p >= P || tokens_of(block)[p] < 0) place(p) = mean;
}

template <typename Value>
void BlockCall<Value>::mix_normalizer(int64_t head, int64_t slot) const {
  const int64_t all = normalizer_columns();
  for (int64_t column = 0; column < all; column += kLaneStrip)
    mix_rows(values_of<float>(mixing), M, normalizers(slot) + strip_place(column, all, M, 0), strip_width(column, all),
             MixStore::kFloat, mixed_normalizers(slot, 0) + column, all);
  if (!is(BlockNormalizer::kProducts)) return;
  for (int64_t block = 0; block < M; ++block)
    for (int64_t p = 0; p < P; ++p)
      normalizers_of(head, block)[p] = mixed_normalizers(slot, block)[p] + static_cast<float>(plan.normalizer_eps);
}

template <typename Value>
void BlockCall<Value>::load_queries(int64_t head, int64_t slot, int64_t block, int64_t first, int64_t chunk,
                                    Value* to) const {
  float products[kQueryChunk];
  const bool sums = is(BlockNormalizer::kSums);
  query_features(q, head / H, head % H, members(block) + first, chunk, to,
                 sums ? mixed_normalizers(slot, block) : nullptr, products);
  if (!sums) return;
  for (int64_t i = 0; i < chunk; ++i)
    normalizers_of(head, block)[places(block)[first + i]] = products[i] + static_cast<float>(plan.normalizer_eps);
}

template <typename Value>
void BlockCall<Value>::finish(int64_t head, int64_t block, int64_t first, int64_t chunk, const float* results) const {
  auto* out = static_cast<uint16_t*>(result.out.mutable_data_ptr());
  const auto* gates = values_of<uint16_t>(gate);
  const auto least = static_cast<float>(plan.least_normalizer);
  const auto at = [&](int64_t i) { return ((head / H * N + members(block)[first + i]) * H + head % H) * D; };
  for (int64_t i = 0; i < chunk; ++i) {
    if (gates && i + kPrefetched < chunk) prefetch(gates + at(i + kPrefetched), D * 2);
    float divisor = 1;
    if (!is(BlockNormalizer::kNone)) {
      const float n = normalizers_of(head, block)[places(block)[first + i]];
      divisor = std::copysign(std::max(std::abs(n), least), n);
    }
    finish_row(results + i * width, divisor, values_of<float>(head_norm), static_cast<float>(plan.head_eps),
               gates ? gates + at(i) : nullptr, D, out + at(i));
  }
}

template class BlockCall<float>;
template class BlockCall<Bfloat16Bits>;

#endif

}  // namespace tessera
