#include "kernels/block_attention.h"

#include <algorithm>
#include <cmath>

#include "core/parallel_for.h"
#include "kernels/attention_inputs.h"
#include "kernels/block_operator.h"

namespace tessera {

bool can_attend_blocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  return fits_attention_kernels(q, k, v, heads, kMostHeadDim);
}

BlockProducts best_block_products() {
  if (instruction_set() >= InstructionSet::kAmx) return BlockProducts::kTiles;
  return prefers_bfloat16_products() ? BlockProducts::kPairs : BlockProducts::kFloat;
}

#if defined(__x86_64__)

namespace {

constexpr int64_t kScratchBytes = 31L << 20;  // for the summaries of the heads that are worked on together

int64_t up_to(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// How many of `heads` heads to work on together when each has summaries of so many bytes: equal parts.
int64_t slots_of(int64_t heads, int64_t bytes) {
  const int64_t most = std::clamp<int64_t>(kScratchBytes / bytes, 1, heads), parts = (heads + most - 1) / most;
  return (heads + parts - 1) / parts;
}

at::Tensor floats(const at::Tensor& t) {
  return t.defined() ? t.to(at::kFloat).contiguous() : t;
}

}  // namespace

template <typename Value>
BlockOperator<Value>::BlockOperator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                    const BlockAttention& plan, bool in_tiles)
    : plan_(plan),
      in_tiles_(in_tiles),
      tokens_(plan.tokens.contiguous()),
      mixing_(floats(plan.mixing)),
      q_norm_(floats(plan.q_norm)),
      k_norm_(floats(plan.k_norm)),
      head_norm_(floats(plan.head_norm)),
      rotation_(floats(plan.rotation)),
      gate_(plan.gate.defined() ? plan.gate.contiguous() : plan.gate),
      B_(q.size(0)),
      N_(q.size(1)),
      H_(plan.heads),
      D_(q.size(2) / plan.heads),
      M_(tokens_.size(0)),
      P_(tokens_.size(1)),
      width_(up_to(D_, in_tiles ? kSquare : kRegisterRows)),
      places_(up_to(P_, 16)),
      q_(feature_rows(q, q_norm_, q_scales_)),
      k_(feature_rows(k, k_norm_, k_scales_)),
      v_(feature_rows(v, {}, q_scales_)),
      slots_(few_tokens() ? B_ * H_ : slots_of(B_ * H_, summary_bytes() + mixed_bytes())),
      scratch_(few_tokens() ? 0 : slots_ * (summary_bytes() + mixed_bytes())),
      normalizers_(slots_ * M_ * normalizer_columns()),
      mixed_normalizers_(slots_ * M_ * normalizer_columns()),
      results_(few_tokens() ? B_ * H_ * N_ * width_ : 0) {
  list_tokens();
  result_.out = at::empty({B_, N_, H_ * D_}, q.options());
  if (!is(BlockNormalizer::kNone))
    result_.normalizer = at::full({B_, H_, M_, P_}, plan.normalizer_eps, q.options().dtype(at::kFloat));
}

template <typename Value>
void BlockOperator<Value>::list_tokens() {
  starts_ = steps_ = {0};
  for (int64_t block = 0; block < M_; ++block) {
    for (int32_t place = 0; place < P_; ++place)
      if (const int32_t token = tokens_of(block)[place]; token >= 0) {
        TORCH_CHECK(token < N_, "block_attention: token ", token, " of ", N_);
        order_.push_back(token);
        place_of_.push_back(place);
      }
    starts_.push_back(static_cast<int64_t>(order_.size()));
    steps_.push_back(steps_.back() + lane_steps<Value>(count(block)));
  }
  TORCH_CHECK(starts_.back() == N_, "block_attention: blocks hold ", starts_.back(), " of ", N_, " tokens");
}

template <typename Value>
FeatureRows BlockOperator<Value>::feature_rows(const at::Tensor& x, const at::Tensor& norm, at::Tensor& scales) const {
  FeatureRows rows{.data = static_cast<const uint16_t*>(x.const_data_ptr()),
                   .sample = x.stride(0),
                   .token = x.stride(1),
                   .tokens = N_,
                   .channels = H_ * D_,
                   .head_dim = D_,
                   .width = width_,
                   .scales = nullptr,
                   .weight = values_of<float>(norm),
                   .rotation = values_of<float>(rotation_)};
  if (norm.defined()) {
    scales = at::empty({B_, N_}, at::kFloat);
    rows.scales = scales.mutable_data_ptr<float>();
    parallel_for(0, B_ * N_, std::max<int64_t>(1, kValuesPerTask / rows.channels),
                 [&](int64_t begin, int64_t end) { scale_rows(rows, plan_.norm_eps, begin, end); });
  }
  return rows;
}

/// Keeps what the normalizer needs of z.
template <typename Value>
void BlockOperator<Value>::keep_key_sums(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  if (is(BlockNormalizer::kSums))
    for (int64_t column = 0; column < width_; column += kLaneStrip)
      std::copy_n(work.key_sums.data + column, strip_width(column, width_),
                  normalizers(slot) + strip_place(column, width_, M_, block));
  if (is(BlockNormalizer::kProducts)) query_products(head, slot, block, work);
}

/// q . z of a block's own tokens, their mean at places that have no token.
template <typename Value>
void BlockOperator<Value>::query_products(int64_t head, int64_t slot, int64_t block, BlockWork<Value>& work) const {
  const auto place = [&](int64_t p) -> float& {
    const int64_t strip = p / kLaneStrip * kLaneStrip;
    return normalizers(slot)[strip_place(strip, places_, M_, block) + p - strip];
  };
  double total = 0;
  for (int64_t first = 0; first < count(block); first += kQueryChunk) {
    const int64_t chunk = std::min(kQueryChunk, count(block) - first);
    query_features(q_, head / H_, head % H_, members(block) + first, chunk, static_cast<Value*>(nullptr),
                   work.key_sums.data, work.products);
    for (int64_t i = 0; i < chunk; ++i) {
      place(places(block)[first + i]) = work.products[i];
      total += work.products[i];
    }
  }
  const auto mean = static_cast<float>(total / static_cast<double>(std::max<int64_t>(count(block), 1)));
  for (int64_t p = 0; p < places_; ++p)
    if (p >= P_ || tokens_of(block)[p] < 0) place(p) = mean;
}

template <typename Value>
void BlockOperator<Value>::mix_normalizer(int64_t head, int64_t slot) const {
  const int64_t all = normalizer_columns();
  for (int64_t column = 0; column < all; column += kLaneStrip)
    mix_rows(values_of<float>(mixing_), M_, normalizers(slot) + strip_place(column, all, M_, 0),
             strip_width(column, all), MixStore::kFloat, mixed_normalizers(slot, 0) + column, all);
  if (!is(BlockNormalizer::kProducts)) return;
  for (int64_t block = 0; block < M_; ++block)
    for (int64_t p = 0; p < P_; ++p)
      normalizers_of(head, block)[p] = mixed_normalizers(slot, block)[p] + static_cast<float>(plan_.normalizer_eps);
}

/// The queries of `chunk` tokens (at most kQueryChunk) as an operand, and their normalizers where those are sums.
template <typename Value>
void BlockOperator<Value>::load_queries(int64_t head, int64_t slot, int64_t block, int64_t first, int64_t chunk,
                                        Value* to) const {
  float products[kQueryChunk];
  const bool sums = is(BlockNormalizer::kSums);
  query_features(q_, head / H_, head % H_, members(block) + first, chunk, to,
                 sums ? mixed_normalizers(slot, block) : nullptr, products);
  if (!sums) return;
  for (int64_t i = 0; i < chunk; ++i)
    normalizers_of(head, block)[places(block)[first + i]] = products[i] + static_cast<float>(plan_.normalizer_eps);
}

/// Divides, norms and gates the results [chunk, width] of a block's tokens.
template <typename Value>
void BlockOperator<Value>::finish(int64_t head, int64_t block, int64_t first, int64_t chunk,
                                  const float* results) const {
  auto* out = static_cast<uint16_t*>(result_.out.mutable_data_ptr());
  const auto* gate = values_of<uint16_t>(gate_);
  const auto least = static_cast<float>(plan_.least_normalizer);
  const auto at = [&](int64_t i) { return ((head / H_ * N_ + members(block)[first + i]) * H_ + head % H_) * D_; };
  for (int64_t i = 0; i < chunk; ++i) {
    if (gate && i + kPrefetched < chunk) prefetch(gate + at(i + kPrefetched), D_ * 2);
    float divisor = 1;
    if (!is(BlockNormalizer::kNone)) {
      const float n = normalizers_of(head, block)[places(block)[first + i]];
      divisor = std::copysign(std::max(std::abs(n), least), n);
    }
    finish_row(results + i * width_, divisor, values_of<float>(head_norm_), static_cast<float>(plan_.head_eps),
               gate ? gate + at(i) : nullptr, D_, out + at(i));
  }
}

template <typename Value>
BlockAttentionResult BlockOperator<Value>::run() {
  few_tokens() ? run_few() : run_many();
  return result_;
}

template <>
BlockAttentionResult BlockOperator<Bfloat16Bits>::run() {
  if (in_tiles_)
    run_in_tiles();
  else
    few_tokens() ? run_few() : run_many();
  return result_;
}

// What the other files call.
template void BlockOperator<float>::keep_key_sums(int64_t head, int64_t slot, int64_t block,
                                                  BlockWork<float>& work) const;
template void BlockOperator<float>::mix_normalizer(int64_t head, int64_t slot) const;
template void BlockOperator<float>::load_queries(int64_t head, int64_t slot, int64_t block, int64_t first,
                                                 int64_t chunk, float* to) const;
template void BlockOperator<float>::finish(int64_t head, int64_t block, int64_t first, int64_t chunk,
                                           const float* results) const;
template void BlockOperator<Bfloat16Bits>::keep_key_sums(int64_t head, int64_t slot, int64_t block,
                                                         BlockWork<Bfloat16Bits>& work) const;
template void BlockOperator<Bfloat16Bits>::mix_normalizer(int64_t head, int64_t slot) const;
template void BlockOperator<Bfloat16Bits>::load_queries(int64_t head, int64_t slot, int64_t block, int64_t first,
                                                        int64_t chunk, Bfloat16Bits* to) const;
template void BlockOperator<Bfloat16Bits>::finish(int64_t head, int64_t block, int64_t first, int64_t chunk,
                                                  const float* results) const;

BlockAttentionResult block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const BlockAttention& plan, BlockProducts products) {
  TORCH_CHECK(can_attend_blocks(q, k, v, plan.heads), "block_attention: no kernel for q ", q.sizes(), " of ",
              q.scalar_type(), " in ", plan.heads, " heads on this machine");
  TORCH_CHECK(q.size(2) % plan.heads == 0 && k.sizes() == q.sizes() && v.sizes() == q.sizes(), "block_attention: q ",
              q.sizes(), ", k ", k.sizes(), ", v ", v.sizes(), " do not fit ", plan.heads, " heads");
  const int64_t M = plan.tokens.size(0), D = q.size(2) / plan.heads;
  TORCH_CHECK(plan.tokens.scalar_type() == at::kInt && plan.mixing.sizes() == at::IntArrayRef({M, M}),
              "block_attention: tokens ", plan.tokens.sizes(), " of ", plan.tokens.scalar_type(), ", mixing ",
              plan.mixing.sizes());
  TORCH_CHECK(!plan.rotation.defined() || plan.rotation.sizes() == at::IntArrayRef({q.size(1), D}),
              "block_attention: rotation ", plan.rotation.sizes(), " for ", q.size(1), " tokens of ", D);
  TORCH_CHECK(products != BlockProducts::kTiles || instruction_set() >= InstructionSet::kAmx,
              "block_attention: this machine has no tile registers");
  if (products == BlockProducts::kFloat) return BlockOperator<float>(q, k, v, plan, false).run();
  return BlockOperator<Bfloat16Bits>(q, k, v, plan, products == BlockProducts::kTiles).run();
}

#else

BlockAttentionResult block_attention(const at::Tensor& q, const at::Tensor&, const at::Tensor&,
                                     const BlockAttention& plan, BlockProducts) {
  TORCH_CHECK(false, "block_attention: no kernel for q ", q.sizes(), " in ", plan.heads, " heads on this machine");
}

#endif

}  // namespace tessera
