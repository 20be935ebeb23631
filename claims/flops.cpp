#include "claims/flops.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace tessera {
namespace {

std::atomic<double> counted_flops{0};
thread_local int64_t inside_counted = 0;  // a counted operation may be made of others

using Inputs = c10::ArrayRef<const c10::IValue>;

double numbers(const c10::IValue& tensor) {
  return static_cast<double>(tensor.toTensor().numel());
}

double size_of(const c10::IValue& tensor, int64_t axis) {
  return static_cast<double>(tensor.toTensor().size(axis));
}

/// Of [.., m, k] times [.., k, n].
double product(const c10::IValue& a, const c10::IValue& b) {
  return 2 * numbers(a) * size_of(b, -1);
}

/// Two products of queries [B, H, N, D] with L keys and values.
double attention(Inputs in, size_t query, bool causal) {
  const double pairs = numbers(in[query]) * size_of(in[query + 1], -2);
  return 2 * (pairs + pairs / size_of(in[query], -1) * size_of(in[query + 2], -1)) * (causal ? 0.5 : 1.0);
}

/// For each output, twice what it sums over; weight [out, in / groups, ...].
double of_an_output(const c10::IValue& weight) {
  return 2 * numbers(weight) / size_of(weight, 0);
}

/// Gradients of input and weight, each as much as the forward, where wanted.
double convolution_backward(Inputs in) {
  const c10::List<bool> wanted = in[10].toBoolList();
  return numbers(in[0]) * of_an_output(in[2]) * ((wanted.get(0) ? 1 : 0) + (wanted.get(1) ? 1 : 0));
}

/// What a call will do; 0 for an operation that is not counted.
double flops_before(const std::string& name, Inputs in) {
  if (name == "aten::mm" || name == "aten::bmm") return product(in[0], in[1]);
  if (name == "aten::addmm" || name == "aten::baddbmm") return product(in[1], in[2]);
  if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") return attention(in, 0, in[4].toBool());
  // Scores are made again, then four products.
  if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward")
    return 2.5 * attention(in, 1, in[7].toBool());
  if (name == "aten::convolution_backward") return convolution_backward(in);
  return 0;
}

void add(double flops) {
  double seen = counted_flops.load();
  while (!counted_flops.compare_exchange_weak(seen, seen + flops)) {
  }
}

struct Counting : at::ObserverContext {
  bool is_whole = false;      // what it calls is not counted
  double of_each_output = 0;  // known only afterwards: of a convolution's outputs
};

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& call) {
  auto context = std::make_unique<Counting>();
  const std::string name = call.name();
  const Inputs inputs = call.inputs();
  const bool convolves = name == "aten::convolution";
  if (inside_counted == 0 && convolves) context->of_each_output = of_an_output(inputs[1]);
  if (inside_counted == 0 && !convolves) add(flops_before(name, inputs));
  context->is_whole = convolves || name == "aten::convolution_backward";
  if (context->is_whole) ++inside_counted;
  return context;
}

void end(const at::RecordFunction& call, at::ObserverContext* context) {
  const auto* counting = static_cast<const Counting*>(context);
  if (!counting->is_whole) return;
  --inside_counted;
  if (counting->of_each_output > 0 && !call.outputs().empty())
    add(counting->of_each_output * numbers(call.outputs().front()));
}

}  // namespace

double count_flops(const std::function<void()>& work) {
  counted_flops = 0;
  const at::CallbackHandle handle = at::addGlobalCallback(
      at::RecordFunctionCallback(begin, end).needsInputs(true).needsOutputs(true).scopes({at::RecordScope::FUNCTION}));
  try {
    work();
  } catch (...) {
    at::removeCallback(handle);
    throw;
  }
  at::removeCallback(handle);
  return counted_flops;
}

}  // namespace tessera
