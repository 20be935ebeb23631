#include "kernels/block_attention.h"

#include "kernels/attention_inputs.h"
#include "kernels/block_call.h"
#include "kernels/tile_products.h"

namespace tessera {

bool can_attend_blocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  return fits_attention_kernels(q, k, v, heads, kMostHeadDim);
}

#if defined(__x86_64__)

namespace {

constexpr int64_t kVectorLanes = 16;

template <typename Value>
BlockAttentionResult attend_in_lanes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const BlockAttention& plan) {
  BlockCall<Value> call(q, k, v, plan, kVectorLanes);
  const bool few = call.N * call.width <= kFewValues && call.M * call.D >= 2 * call.N;
  few ? attend_in_panels(call) : attend_by_summaries(call);
  return call.result;
}

BlockAttentionResult attend_in_registers(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                         const BlockAttention& plan) {
  BlockCall<Bfloat16Bits> call(q, k, v, plan, kSquare);
  prefers_pairs_of_tokens(call.N, call.M, call.width) ? attend_directly(call) : attend_in_tiles(call);
  return call.result;
}

}  // namespace

BlockAttentionResult block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const BlockAttention& plan, AttentionProducts products) {
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
  TORCH_CHECK(products != AttentionProducts::kTiles || instruction_set() >= InstructionSet::kAmx,
              "block_attention: this machine has no tile registers");
  switch (products) {
    case AttentionProducts::kFloat:
      return attend_in_lanes<float>(q, k, v, plan);
    case AttentionProducts::kPairs:
      return attend_in_lanes<Bfloat16Bits>(q, k, v, plan);
    default:
      return attend_in_registers(q, k, v, plan);
  }
}

#else

BlockAttentionResult block_attention(const at::Tensor& q, const at::Tensor&, const at::Tensor&,
                                     const BlockAttention& plan, AttentionProducts) {
  TORCH_CHECK(false, "block_attention: no kernel for q ", q.sizes(), " in ", plan.heads, " heads on this machine");
}

#endif

}  // namespace tessera
