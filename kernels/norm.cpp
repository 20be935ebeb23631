#include "kernels/norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>  // ATen alone cannot give a kernel its own gradient

#include <cmath>

#include "core/parallel_for.h"
#include "kernels/device_blocks.h"
#include "kernels/norm_simd.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kShortest = 1e-12;  // a length that channel_norm divides by

struct NormPlan {
  NormScale scale = NormScale::kRootMeanSquare;
  NormEpilogue epilogue = NormEpilogue::kNone;
  double eps = 0;
  NormLayout layout;

  NormRows rows(const at::Tensor& weight) const {
    return {.scale = scale,
            .epilogue = epilogue,
            .rows = layout.rows,
            .tokens = layout.tokens,
            .heads = layout.heads,
            .head_dim = layout.head_dim,
            .x_sample = layout.x_sample,
            .x_head = layout.x_head,
            .y_sample = layout.y_sample,
            .y_head = layout.y_head,
            .x_token = values_of<int64_t>(layout.x_token),
            .y_token = values_of<int64_t>(layout.y_token),
            .each_head = layout.each_head,
            .weight = values_of<float>(weight),
            .eps = static_cast<float>(eps),
            .cosines = values_of<float>(layout.cosines),
            .sines = values_of<float>(layout.sines)};
  }
  int64_t width() const { return layout.heads * layout.head_dim; }
  int64_t rows_per_task() const { return std::max<int64_t>(1, kValuesPerTask / width()); }
};

struct NormResult {
  at::Tensor y, unrotated, scales;
};

NormResult norm_forward(const NormPlan& plan, const at::Tensor& x, const at::Tensor& weight, at::ScalarType dtype,
                        bool with_unrotated) {
  const auto make = [&](at::ScalarType type) {
    const auto options = x.options().dtype(type);
    return plan.layout.gaps ? at::zeros(plan.layout.y_shape, options) : at::empty(plan.layout.y_shape, options);
  };
  NormResult out{make(dtype), with_unrotated ? make(at::kFloat) : at::Tensor(), {}};
  const NormRows rows = plan.rows(weight);
  out.scales = at::empty({rows.norms()}, x.options().dtype(at::kFloat));
  with_value_type(x.scalar_type(), [&](auto in) {
    with_value_type(dtype, [&](auto to) {
      parallel_for(0, rows.rows, plan.rows_per_task(), [&](int64_t begin, int64_t end) {
        norm_rows(rows, begin, end, values_of<decltype(in)>(x), mutable_values_of<decltype(to)>(out.y),
                  mutable_values_of<float>(out.unrotated), mutable_values_of<float>(out.scales));
      });
    });
  });
  return out;
}

/// The sum of parts [tasks, C] in the order of the tasks. ATen's order depends on the number of threads.
at::Tensor sum_in_order(const at::Tensor& parts) {
  const int64_t channels = parts.size(1);
  std::vector<double> sums(static_cast<size_t>(channels), 0.0);
  const float* part = values_of<float>(parts);
  for (int64_t task = 0; task < parts.size(0); ++task, part += channels)
    for (int64_t c = 0; c < channels; ++c) sums[static_cast<size_t>(c)] += part[c];
  return at::tensor(sums, at::kDouble).to(at::kFloat);
}

/// dx and dweight. Tasks are fixed ranges of rows, whatever the number of threads, with a part of dweight each.
variable_list norm_backward(const NormPlan& plan, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& scales, const at::Tensor& dy, const at::Tensor& dunrotated) {
  const NormRows rows = plan.rows(weight);
  const int64_t each = plan.rows_per_task(), tasks = (rows.rows + each - 1) / each;
  const at::Tensor dx = plan.layout.gaps ? at::zeros_like(x) : at::empty_like(x);
  const at::Tensor parts = at::zeros({tasks, weight.numel()}, weight.options());
  with_value_type(x.scalar_type(), [&](auto in) {
    with_value_type(dy.scalar_type(), [&](auto to) {
      parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
        std::vector<float> scratch(static_cast<size_t>(plan.width()));
        for (int64_t task = first; task < last; ++task)
          norm_rows_backward(rows, task * each, std::min(rows.rows, (task + 1) * each), values_of<decltype(in)>(x),
                             values_of<float>(scales), values_of<decltype(to)>(dy), values_of<float>(dunrotated),
                             mutable_values_of<decltype(in)>(dx),
                             mutable_values_of<float>(parts) + task * weight.numel(), scratch.data());
      });
    });
  });
  return {dx, sum_in_order(parts)};
}

/// A NormPlan as autograd keeps it.
struct SavedPlan : torch::CustomClassHolder {
  NormPlan plan;
  explicit SavedPlan(const NormPlan& p) : plan(p) {}
};

class Norm : public torch::autograd::Function<Norm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                               const NormPlan& plan, at::ScalarType dtype, bool with_unrotated) {
    const NormResult out = norm_forward(plan, x, weight, dtype, with_unrotated);
    context->save_for_backward({x, weight, out.scales});
    context->saved_data["plan"] = at::IValue::make_capsule(c10::make_intrusive<SavedPlan>(plan));
    if (!with_unrotated) return {out.y};
    return {out.y, out.unrotated};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->saved_data["plan"].toCapsule();
    const auto tensors = context->get_saved_variables();
    const at::Tensor dunrotated = gradients.size() > 1 ? gradients[1].contiguous() : at::Tensor();
    variable_list out = norm_backward(static_cast<const SavedPlan*>(saved.get())->plan, tensors[0], tensors[1],
                                      tensors[2], gradients[0].contiguous(), dunrotated);
    out.resize(5);
    return out;
  }
};

/// x contiguous and can_vectorize.
std::pair<at::Tensor, at::Tensor> apply_norm(const NormPlan& plan, const at::Tensor& x, const at::Tensor& weight,
                                             at::ScalarType dtype, bool with_unrotated) {
  const at::Tensor gain = weight.to(at::kFloat).contiguous();
  if (!needs_gradient(x) && !needs_gradient(gain)) {
    const NormResult out = norm_forward(plan, x, gain, dtype, with_unrotated);
    return {out.y, out.unrotated};
  }
  const variable_list out = Norm::apply(x, gain, plan, dtype, with_unrotated);
  return {out[0], with_unrotated ? out[1] : at::Tensor()};
}

/// Contiguous rows along the last axis: every row is a sample of one token.
NormLayout plain_rows(const at::Tensor& x) {
  const int64_t width = x.size(-1);
  const at::Tensor start = at::zeros({1}, at::kLong);
  return {.rows = x.numel() / width,
          .tokens = 1,
          .heads = 1,
          .head_dim = width,
          .x_sample = width,
          .x_head = 0,
          .y_sample = width,
          .y_head = 0,
          .x_token = start,
          .y_token = start,
          .cosines = {},
          .sines = {},
          .y_shape = x.sizes().vec()};
}

}  // namespace

std::pair<at::Tensor, at::Tensor> norm_and_move(const at::Tensor& x, const at::Tensor& weight, double eps,
                                                const NormLayout& layout, at::ScalarType dtype, bool with_unrotated) {
  TORCH_CHECK(can_vectorize(x) && x.is_contiguous(),
              "norm_and_move: x must be a contiguous CPU tensor, float32 or bfloat16");
  const auto rotation = layout.features ? NormEpilogue::kRotatedFeatures : NormEpilogue::kRotated;
  const auto epilogue = layout.cosines.defined() ? rotation : NormEpilogue::kNone;
  return apply_norm({NormScale::kRootMeanSquare, epilogue, eps, layout}, x, weight, dtype, with_unrotated);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype) {
  const bool rounds = dtype == at::kFloat || dtype == x.scalar_type();
  if (const auto* kernels = device_kernels(x); kernels && rounds && !needs_gradient(weight))
    return device_rms_norm(*kernels, x, weight, eps, dtype);
  if (!can_vectorize(x)) return rms_norm_composite(x, weight, eps, dtype);
  const at::Tensor dense = x.contiguous();
  return norm_and_move(dense, weight, eps, plain_rows(dense), dtype, /*with_unrotated=*/false).first;
}

at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& weight, bool silu) {
  if (!can_vectorize(x)) return channel_norm_composite(x, weight, silu);
  const at::Tensor dense = x.contiguous();
  const auto epilogue = silu ? NormEpilogue::kSilu : NormEpilogue::kNone;
  return apply_norm({NormScale::kLength, epilogue, kShortest, plain_rows(dense)}, dense, weight, x.scalar_type(),
                    /*with_unrotated=*/false)
      .first;
}

at::Tensor rms_norm_composite(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype) {
  const at::Tensor wide = x.to(wide_type(x));
  const at::Tensor norm = at::linalg_vector_norm(wide, 2, {-1}, /*keepdim=*/true);
  const at::Tensor scale = at::rsqrt(norm.square() / x.size(-1) + eps);
  return (wide * scale * weight.to(wide.scalar_type())).to(dtype);
}

at::Tensor channel_norm_composite(const at::Tensor& x, const at::Tensor& weight, bool silu) {
  const at::Tensor wide = x.to(wide_type(x));
  const at::Tensor length = at::linalg_vector_norm(wide, 2, {-1}, /*keepdim=*/true).clamp_min(kShortest);
  const at::Tensor scaled =
      wide / length * (weight.to(wide.scalar_type()) * std::sqrt(static_cast<double>(x.size(-1))));
  return (silu ? at::silu(scaled) : scaled).to(x.scalar_type());
}

}  // namespace tessera
