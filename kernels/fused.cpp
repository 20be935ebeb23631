#include "kernels/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>  // ATen alone cannot give a fused kernel its own gradient

#include "kernels/fused_kernels.h"

namespace tessera {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kValuesPerTask = 32768;

/// Calls body(Value tag) with the kernels' value type of `dtype`.
template <typename Body>
void with_value_type(at::ScalarType dtype, const Body& body) {
  if (dtype == at::kFloat)
    body(float{});
  else
    body(Bfloat16Bits{});
}

template <typename Value>
const Value* read(const at::Tensor& t) {
  return t.defined() ? static_cast<const Value*>(t.const_data_ptr()) : nullptr;
}
template <typename Value>
Value* write(const at::Tensor& t) {
  return t.defined() ? static_cast<Value*>(t.mutable_data_ptr()) : nullptr;
}

bool needs_gradient(const at::Tensor& x) {
  return at::GradMode::is_enabled() && x.requires_grad();
}

NormRows rows_of(const NormLayout& l, const at::Tensor& weight, double eps) {
  return {l.rows,
          l.tokens,
          l.pieces,
          l.piece,
          l.x_sample,
          l.x_piece,
          l.y_sample,
          l.y_piece,
          read<int64_t>(l.x_token),
          read<int64_t>(l.y_token),
          l.each_piece,
          read<float>(weight),
          static_cast<float>(eps),
          read<float>(l.cosines),
          read<float>(l.sines)};
}

struct NormResult {
  at::Tensor y, plain, scale;
};

NormResult norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, const NormLayout& layout,
                        at::ScalarType dtype, bool with_plain) {
  const auto make = [&](at::ScalarType type) {
    const auto options = x.options().dtype(type);
    return layout.gaps ? at::zeros(layout.y_shape, options) : at::empty(layout.y_shape, options);
  };
  NormResult out{make(dtype), with_plain ? make(at::kFloat) : at::Tensor(), {}};
  const NormRows rows = rows_of(layout, weight, eps);
  out.scale = at::empty({rows.norms()}, x.options().dtype(at::kFloat));
  const int64_t grain = std::max<int64_t>(1, kValuesPerTask / (rows.pieces * rows.piece));
  with_value_type(x.scalar_type(), [&](auto in) {
    with_value_type(dtype, [&](auto to) {
      at::parallel_for(0, rows.rows, grain, [&](int64_t begin, int64_t end) {
        norm_rows(rows, begin, end, read<decltype(in)>(x), write<decltype(to)>(out.y), write<float>(out.plain),
                  write<float>(out.scale));
      });
    });
  });
  return out;
}

/// dx and dweight. Each task adds up its own part of dweight, so that the sum does not depend on the threads.
variable_list norm_backward(const at::Tensor& x, const at::Tensor& weight, double eps, const NormLayout& layout,
                            const at::Tensor& scale, const at::Tensor& dy, const at::Tensor& dplain) {
  const NormRows rows = rows_of(layout, weight, eps);
  const int64_t width = rows.pieces * rows.piece;
  const int64_t grain = std::max<int64_t>(1, kValuesPerTask / width), tasks = (rows.rows + grain - 1) / grain;
  const at::Tensor dx = layout.gaps ? at::zeros_like(x) : at::empty_like(x);
  const at::Tensor parts = at::zeros({tasks, weight.numel()}, weight.options());
  with_value_type(x.scalar_type(), [&](auto in) {
    with_value_type(dy.scalar_type(), [&](auto to) {
      at::parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
        std::vector<float> scratch(static_cast<size_t>(width));
        for (int64_t task = first; task < last; ++task)
          norm_rows_backward(rows, task * grain, std::min(rows.rows, (task + 1) * grain), read<decltype(in)>(x),
                             read<float>(scale), read<decltype(to)>(dy), read<float>(dplain), write<decltype(in)>(dx),
                             write<float>(parts) + task * weight.numel(), scratch.data());
      });
    });
  });
  return {dx, parts.sum(0)};
}

class FusedNorm : public torch::autograd::Function<FusedNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double eps,
                               const NormLayout& layout, at::ScalarType dtype, bool with_plain) {
    const NormResult out = norm_forward(x, weight, eps, layout, dtype, with_plain);
    context->save_for_backward({x, weight, out.scale});
    auto& saved = context->saved_data;
    saved["eps"] = eps;
    saved["sizes"] =
        std::vector<int64_t>{layout.rows,    layout.tokens,   layout.pieces,  layout.piece,      layout.x_sample,
                             layout.x_piece, layout.y_sample, layout.y_piece, layout.each_piece, layout.gaps};
    saved["places"] = std::vector<at::Tensor>{layout.x_token, layout.y_token};
    if (layout.cosines.defined()) saved["rotation"] = std::vector<at::Tensor>{layout.cosines, layout.sines};
    if (!with_plain) return {out.y};
    return {out.y, out.plain};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    auto& saved = context->saved_data;
    const std::vector<int64_t> n = saved["sizes"].toIntVector();
    NormLayout layout{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], {}, {}, n[8] != 0, {}, {}, {}, n[9] != 0};
    const auto places = saved["places"].toTensorVector();
    layout.x_token = places[0];
    layout.y_token = places[1];
    if (saved.count("rotation") != 0) {
      const auto rotation = saved["rotation"].toTensorVector();
      layout.cosines = rotation[0];
      layout.sines = rotation[1];
    }
    const auto tensors = context->get_saved_variables();
    const at::Tensor dplain = gradients.size() > 1 ? gradients[1].contiguous() : at::Tensor();
    variable_list out = norm_backward(tensors[0], tensors[1], saved["eps"].toDouble(), layout, tensors[2],
                                      gradients[0].contiguous(), dplain);
    out.resize(6);
    return out;
  }
};

at::Tensor gelu_apply(const at::Tensor& x, const at::Tensor* dy) {
  const at::Tensor out = at::empty_like(x);
  with_value_type(x.scalar_type(), [&](auto tag) {
    using Value = decltype(tag);
    at::parallel_for(0, x.numel(), kValuesPerTask, [&](int64_t begin, int64_t end) {
      if (dy)
        gelu_values_backward(read<Value>(x) + begin, read<Value>(*dy) + begin, end - begin, write<Value>(out) + begin);
      else
        gelu_values(read<Value>(x) + begin, end - begin, write<Value>(out) + begin);
    });
  });
  return out;
}

class FusedGelu : public torch::autograd::Function<FusedGelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return gelu_apply(x, nullptr);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor dy = gradients[0].contiguous();
    return {gelu_apply(context->get_saved_variables()[0], &dy)};
  }
};

/// Contiguous rows of `width` values: every row is a sample of one token.
NormLayout plain_rows(const at::Tensor& x) {
  const int64_t width = x.size(-1);
  const at::Tensor start = at::zeros({1}, at::kLong);
  return {x.numel() / width, 1, 1, width, width, 0, width, 0, start, start, false, {}, {}, x.sizes().vec(), false};
}

}  // namespace

bool can_fuse(const at::Tensor& x) {
  return x.is_cpu() && x.numel() > 0 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

std::pair<at::Tensor, at::Tensor> norm_and_move(const at::Tensor& x, const at::Tensor& weight, double eps,
                                                const NormLayout& layout, at::ScalarType dtype, bool with_plain) {
  TORCH_CHECK(can_fuse(x) && x.is_contiguous(),
              "norm_and_move: x must be a contiguous CPU tensor, float32 or bfloat16");
  const at::Tensor gain = weight.to(at::kFloat).contiguous();
  if (!needs_gradient(x) && !needs_gradient(gain)) {
    const NormResult out = norm_forward(x, gain, eps, layout, dtype, with_plain);
    return {out.y, out.plain};
  }
  const variable_list out = FusedNorm::apply(x, gain, eps, layout, dtype, with_plain);
  return {out[0], with_plain ? out[1] : at::Tensor()};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype) {
  if (!can_fuse(x)) return rms_norm_composite(x, weight, eps, dtype);
  const at::Tensor dense = x.contiguous();
  return norm_and_move(dense, weight, eps, plain_rows(dense), dtype, /*with_plain=*/false).first;
}

at::Tensor gelu_tanh(const at::Tensor& x) {
  if (!can_fuse(x)) return gelu_tanh_composite(x);
  const at::Tensor dense = x.contiguous();
  return needs_gradient(x) ? FusedGelu::apply(dense) : gelu_apply(dense, nullptr);
}

at::ScalarType wide_type(const at::Tensor& x) {
  return at::promote_types(x.scalar_type(), at::kFloat);
}

at::Tensor rms_norm_composite(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype) {
  const at::Tensor wide = x.to(wide_type(x));
  const at::Tensor norm = at::linalg_vector_norm(wide, 2, {-1}, /*keepdim=*/true);
  const at::Tensor scale = at::rsqrt(norm.square() / x.size(-1) + eps);
  return (wide * scale * weight.to(wide.scalar_type())).to(dtype);
}

at::Tensor gelu_tanh_composite(const at::Tensor& x) {
  return at::gelu(x, "tanh");
}

}  // namespace tessera
