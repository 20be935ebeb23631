#include "weights/lora.h"

#include <ATen/ATen.h>

#include <set>

#include "core/error.h"
#include "core/text.h"
#include "kernels/library_linear.h"
#include "kernels/linear.h"
#include "kernels/packed.h"
#include "weights/shown.h"

namespace tessera {
namespace {

[[noreturn]] void refuse_shape(const LoraTerm& term, const Param& param, const std::string& what) {
  throw Error(c10::str(term.file->where, ": ", plain(term.layer_name), " ", what, ", but ", param.name, " is ",
                       at::IntArrayRef(param.shape), ": the LoRA is for another model"));
}

void check_same(const LoraTerm& term, const Param& param, const at::Tensor& added, const char* what) {
  if (added.defined() && added.sizes() != at::IntArrayRef(param.shape))
    refuse_shape(term, param, c10::str("has a ", what, " of ", added.sizes()));
}

std::string files_of(std::span<const LoraTerm> terms) {
  std::set<std::string> names;
  for (const LoraTerm& term : terms) names.insert(term.file->where);
  return joined(names);
}

}  // namespace

void check_lora_shape(const LoraTerm& term, const Param& param) {
  const LoraLayer& layer = *term.layer;
  if (term.to_bias) {
    check_same(term, param, layer.up_bias, "bias");
    check_same(term, param, layer.diff_bias, "difference of its bias");
    return;
  }
  check_same(term, param, layer.diff, "difference");
  if (!layer.down.defined()) return;
  const int64_t rank = layer.rank(), out = layer.up.size(0);
  const bool wide = param.shape.size() >= 2;
  const int64_t columns = wide ? c10::multiply_integers(param.shape.begin() + 1, param.shape.end()) : 0;
  if (!wide || out != param.shape[0] || layer.up.numel() != out * rank || layer.down.numel() != rank * columns)
    refuse_shape(term, param, c10::str("has a pair of ", layer.down.sizes(), " and ", layer.up.sizes()));
}

at::Tensor lora_delta(const LoraTerm& term, at::IntArrayRef shape) {
  const LoraLayer& layer = *term.layer;
  const auto wide = [](const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kFloat); };
  at::Tensor sum = at::zeros(shape, at::kFloat);
  const at::Tensor& plain = term.to_bias ? layer.diff_bias : layer.diff;
  if (plain.defined()) sum.add_(wide(plain), term.strength);
  const double scale = layer.scale * term.strength;
  if (term.to_bias && layer.up_bias.defined()) sum.add_(wide(layer.up_bias), scale);
  if (!term.to_bias && layer.down.defined()) {
    const int64_t rank = layer.rank();
    const at::Tensor product = wide(layer.up).reshape({-1, rank}).matmul(wide(layer.down).reshape({rank, -1}));
    sum.add_(product.view(shape), scale);  // [out, in, ...]
  }
  return sum;
}

namespace {

[[noreturn]] void refuse_infinite(const Param& param, std::span<const LoraTerm> terms, at::ScalarType dtype) {
  throw Error(files_of(terms) + ": " + param.name + " becomes NaN or infinite with " +
              (terms.size() > 1 ? "these LoRAs" : "this LoRA") + c10::str(" in ", dtype) +
              ": the file is damaged, or a strength too large");
}

/// The packed weight of `bound` with the terms' pairs beside it, those of an earlier set gone.
at::Tensor with_pairs(const Param& param, const at::Tensor& bound, std::span<const LoraTerm> terms) {
  PackedWeight weight = *packed_weight(bound);
  weight.added.clear();
  for (const LoraTerm& term : terms) {
    const LoraLayer& layer = *term.layer;
    if (layer.diff.defined())
      throw Error(
          c10::str(term.file->where, ": ", param.name, " is quantized (", number_format(bound), "), and ",
                   plain(term.layer_name),
                   ".diff, the difference of a whole matrix, cannot be added to quantized weights: use the bf16, "
                   "fp16 or fp32 weights"));
    const int64_t rank = layer.rank();
    const at::Tensor up = layer.up.to(at::kCPU, at::kFloat).reshape({-1, rank}).mul(layer.scale * term.strength);
    const at::Tensor down = layer.down.to(at::kCPU, at::kFloat).reshape({rank, -1}).contiguous();
    if (!up.isfinite().all().item<bool>() || !down.isfinite().all().item<bool>())
      refuse_infinite(param, terms, bound.scalar_type());
    weight.added.push_back({up, down});
  }
  return packed_tensor(std::move(weight), bound.scalar_type());
}

}  // namespace

void set_with_loras(const Param& param, const at::Tensor& base, std::span<const LoraTerm> terms, at::ScalarType dtype,
                    at::Device device) {
  const PackedWeight* bound = packed_weight(*param.slot);
  const bool int8 = bound && bound->type == PackedType::kInt8Panels, in_order = is_arranged(*param.slot);
  if (bound && !int8) {
    *param.slot = with_pairs(param, *param.slot, terms);
    return;
  }
  const at::ScalarType wanted = param.keep_float ? at::kFloat : dtype;
  at::Tensor value = base;
  if (!terms.empty()) {
    value = unpacked(base, at::kFloat).clone();
    for (const LoraTerm& term : terms) value.add_(lora_delta(term, value.sizes()));
  }
  if (!int8) value = unpacked(value, wanted).contiguous();
  if (!terms.empty() && !value.isfinite().all().item<bool>()) refuse_infinite(param, terms, wanted);
  *param.slot = int8 ? int8_tensor(value, wanted) : in_order ? arranged(value) : value.to(device);
}

}  // namespace tessera
