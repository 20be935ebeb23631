#include "core/device_settings.h"

#include <ATen/Context.h>

#include <mutex>

#include "core/dtype.h"

namespace tessera {
namespace {

constexpr int kAmpere = 8, kHopper = 9;

/// What decides about TF32, of this process.
struct Products {
  std::mutex mutex;
  bool half = false, single = false, exact = false;  // networks seen; whether results are compared
};

Products& products() {
  static Products seen;
  return seen;
}

void set_tf32(bool allowed) {
  const auto precision = allowed ? at::Float32Precision::TF32 : at::Float32Precision::IEEE;
  for (const at::Float32Op op : {at::Float32Op::MATMUL, at::Float32Op::CONV, at::Float32Op::RNN})
    at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, op, precision);
}

/// Expects the lock.
void decide(const Products& seen) {
  set_tf32(seen.half && !seen.single && !seen.exact);
  at::globalContext().setBenchmarkCuDNN(!seen.exact);
}

}  // namespace

std::vector<int64_t> attention_order(int major) {
  using at::SDPBackend;
  std::vector<SDPBackend> order = {SDPBackend::efficient_attention, SDPBackend::flash_attention,
                                   SDPBackend::cudnn_attention};
  if (major >= kAmpere)
    order = {SDPBackend::flash_attention, SDPBackend::efficient_attention, SDPBackend::cudnn_attention};
  if (major >= kHopper)
    order = {SDPBackend::cudnn_attention, SDPBackend::flash_attention, SDPBackend::efficient_attention};
  order.insert(order.end(), {SDPBackend::math, SDPBackend::overrideable});
  std::vector<int64_t> numbers;
  for (const SDPBackend backend : order) numbers.push_back(static_cast<int64_t>(backend));
  return numbers;
}

void apply_gpu_settings(int major) {
  at::globalContext().setSDPPriorityOrder(attention_order(major));
  const std::lock_guard lock(products().mutex);
  decide(products());
}

void note_network_dtype(at::ScalarType dtype) {
  Products& seen = products();
  const std::lock_guard lock(seen.mutex);
  (at::isReducedFloatingType(dtype) ? seen.half : seen.single) = true;
  decide(seen);
}

void require_exact_products() {
  Products& seen = products();
  const std::lock_guard lock(seen.mutex);
  seen.exact = true;
  decide(seen);
}

std::string text_encoder_dtype(const std::string& name, bool fast_bfloat16) {
  if (find_dtype(name) != at::kHalf) return name;
  return fast_bfloat16 ? "bf16" : "fp32";
}

std::string autoencoder_dtype(const std::string& name, at::Device device) {
  return name == "auto" && !device.is_cuda() ? "fp32" : name;
}

}  // namespace tessera
