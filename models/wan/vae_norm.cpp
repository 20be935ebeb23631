#include "models/wan/vae_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>  // ATen alone cannot give a fused kernel its own gradient

#include <cmath>
#include <mutex>

#include "kernels/channel_norm_kernel.h"

namespace tessera {
namespace {

/// Calls body(Value tag) with the kernel's value type for x.
template <typename Body>
void with_value_type(const at::Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kFloat)
    body(float{});
  else
    body(Bfloat16Bits{});
}

template <typename Value>
const Value* read(const at::Tensor& t) {
  return static_cast<const Value*>(t.const_data_ptr());
}
template <typename Value>
Value* write(const at::Tensor& t) {
  return static_cast<Value*>(t.mutable_data_ptr());
}

int64_t rows_per_task(int64_t channels) {
  return std::max<int64_t>(1, 32768 / channels);
}

/// y and one scale a row.
std::pair<at::Tensor, at::Tensor> fused_forward(const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const int64_t channels = x.size(-1), rows = x.numel() / channels;
  const at::Tensor y = at::empty_like(x), inverse = at::empty({rows}, x.options().dtype(at::kFloat));
  const float* gain = read<float>(gamma);
  with_value_type(x, [&](auto tag) {
    using Value = decltype(tag);
    at::parallel_for(0, rows, rows_per_task(channels), [&](int64_t begin, int64_t end) {
      normalize_rows(read<Value>(x) + begin * channels, gain, silu, end - begin, channels,
                     write<Value>(y) + begin * channels, write<float>(inverse) + begin);
    });
  });
  return {y, inverse};
}

class FusedNorm : public torch::autograd::Function<FusedNorm> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& gamma,
                            bool silu) {
    const auto [y, inverse] = fused_forward(x, gamma, silu);
    context->save_for_backward({x, gamma, inverse});
    context->saved_data["silu"] = silu;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &gamma = saved[1], &inverse = saved[2];
    const bool silu = context->saved_data["silu"].toBool();
    const at::Tensor dy = gradients[0].contiguous();
    const int64_t channels = x.size(-1), rows = x.numel() / channels;
    const at::Tensor dx = at::empty_like(x), dgamma = at::zeros_like(gamma);
    std::mutex adding;
    with_value_type(x, [&](auto tag) {
      using Value = decltype(tag);
      at::parallel_for(0, rows, rows_per_task(channels), [&](int64_t begin, int64_t end) {
        std::vector<float> part(static_cast<size_t>(channels), 0.0f);
        const int64_t offset = begin * channels;
        normalize_rows_backward(read<Value>(x) + offset, read<float>(gamma), read<float>(inverse) + begin,
                                read<Value>(dy) + offset, silu, end - begin, channels, write<Value>(dx) + offset,
                                part.data());
        const std::lock_guard lock(adding);
        float* total = write<float>(dgamma);
        for (int64_t c = 0; c < channels; ++c) total[c] += part[static_cast<size_t>(c)];
      });
    });
    return {dx, dgamma, at::Tensor()};
  }
};

at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const at::Tensor gain = gamma.flatten().to(at::kFloat);
  const bool fused = x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
  if (!fused || x.numel() == 0) return channel_norm_composite(x, gain, silu);
  const at::Tensor dense = x.contiguous();
  if (!at::GradMode::is_enabled() || (!x.requires_grad() && !gain.requires_grad()))
    return fused_forward(dense, gain, silu).first;
  return FusedNorm::apply(dense, gain, silu);
}

}  // namespace

void ChannelNorm::params(ParamList& out, const std::string& prefix, int64_t channels, int64_t dims) {
  std::vector<int64_t> shape(static_cast<size_t>(dims), 1);
  shape[0] = channels;
  out.add_float(prefix + "gamma", gamma, shape, Init::ones());
}

at::Tensor ChannelNorm::operator()(const at::Tensor& x) const {
  return channel_norm(x, gamma, false);
}

at::Tensor ChannelNorm::silu(const at::Tensor& x) const {
  return channel_norm(x, gamma, true);
}

at::Tensor channel_norm_composite(const at::Tensor& x, const at::Tensor& gamma, bool silu) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor length = at::linalg_vector_norm(wide, 2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
  const at::Tensor scaled = wide / length * (gamma * std::sqrt(static_cast<double>(x.size(-1))));
  return (silu ? at::silu(scaled) : scaled).to(x.scalar_type());
}

}  // namespace tessera
