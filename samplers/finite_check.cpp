#include "samplers/finite_check.h"

#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "core/error.h"

namespace tessera {
namespace {

[[noreturn]] void refuse(const char* what, int64_t bad, int64_t values, int64_t call, const Sampler& sampler) {
  throw Error(std::string(what) + " is not finite after step " + std::to_string(call + 1) + " of " +
                  std::to_string(sampler.calls()) + " (timestep " +
                  std::to_string(sampler.schedule().timesteps[static_cast<size_t>(call)]) +
                  "): " + std::to_string(bad) + " of " + std::to_string(values) +
                  " values are NaN or infinite; try --dtype fp32, a lower --cfg-scale or another --sampler",
              ExitCode::kBadPixels);
}

constexpr const char* kPrediction = "the model's prediction";
constexpr const char* kSample = "the sample";

void check_now(const char* what, const at::Tensor& values, int64_t call, const Sampler& sampler) {
  const at::Tensor finite = values.isfinite();
  if (finite.all().item<bool>()) return;
  refuse(what, values.numel() - finite.sum().item<int64_t>(), values.numel(), call, sampler);
}

at::Tensor bad_values(const at::Tensor& values) {
  return values.isfinite().logical_not().sum();
}

}  // namespace

void FiniteCheck::prediction(const at::Tensor& values, int64_t call, const Sampler& sampler) {
  if (values.is_meta()) return;
  if (values.is_cpu()) return check_now(kPrediction, values, call, sampler);
  bad_prediction_ = bad_values(values);
}

void FiniteCheck::sample(const at::Tensor& values, int64_t call, const Sampler& sampler) {
  if (values.is_meta()) return;
  if (values.is_cpu()) return check_now(kSample, values, call, sampler);
  Download counts(at::stack({std::exchange(bad_prediction_, {}), bad_values(values)}));
  finish(sampler);
  counts_ = std::move(counts);
  call_ = call;
  values_ = values.numel();
}

void FiniteCheck::finish(const Sampler& sampler) {
  if (!counts_.started()) return;
  const at::Tensor counts = counts_.wait();
  counts_ = {};
  for (const auto& [what, place] : {std::pair(kPrediction, 0), std::pair(kSample, 1)})
    if (const auto bad = counts[place].item<int64_t>(); bad > 0) refuse(what, bad, values_, call_, sampler);
}

}  // namespace tessera
