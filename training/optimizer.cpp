#include "training/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace tessera {
namespace {

bool muon_takes(const Param& param, const std::vector<std::string>& patterns) {
  return param.shape.size() == 2 && std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
           return param.name.find(pattern) != std::string::npos;
         });
}

}  // namespace

at::Tensor Optimizer::Group::view(const at::Tensor& flat, const Item& item) const {
  return flat.narrow(0, item.offset, item.count).view(item.shape);
}

/// ATen's fused step does not tell the version counters, by which packed filters know that they are out of date.
void Optimizer::Group::mark_changed() const {
  for (const at::Tensor& leaf : leaves) leaf.unsafeGetTensorImpl()->bump_version();
}

Optimizer::Group Optimizer::make_group(const std::vector<Param>& params, bool with_second) const {
  Group group;
  int64_t total = 0;
  for (const auto& param : params) {
    const int64_t count = c10::multiply_integers(param.shape);
    group.items.push_back({param.name, param.shape, total, count});
    total += (count + 15) / 16 * 16;  // views start at whole cache lines
  }
  auto options = at::TensorOptions().dtype(at::kFloat);
  if (!params.empty()) options = options.device(params.front().slot->device());
  group.values = at::zeros({total}, options);
  group.gradients = at::zeros({total}, options);
  group.first = at::zeros({total}, options);
  if (with_second) group.second = at::zeros({total}, options);
  for (size_t i = 0; i < params.size(); ++i) {
    at::Tensor leaf = group.view(group.values, group.items[i]);
    leaf.copy_(*params[i].slot);
    leaf = leaf.detach().requires_grad_(true);
    leaf.mutable_grad() = group.view(group.gradients, group.items[i]);
    *params[i].slot = leaf;
    group.leaves.push_back(leaf);
  }
  if (config_.ema_decay > 0) group.ema = group.values.clone();
  return group;
}

Optimizer::Optimizer(const ParamList& params, OptimizerConfig config) : config_(std::move(config)) {
  std::vector<Param> matrices, others;
  for (const Param& param : params) (muon_takes(param, config_.muon) ? matrices : others).push_back(param);
  adam_ = make_group(others, true);
  muon_ = make_group(matrices, false);
}

int64_t Optimizer::parameters() const {
  int64_t total = 0;
  for (const Group* group : {&adam_, &muon_})
    for (const Item& item : group->items) total += item.count;
  return total;
}

std::vector<at::Tensor> Optimizer::leaves() const {
  std::vector<at::Tensor> out = adam_.leaves;
  out.insert(out.end(), muon_.leaves.begin(), muon_.leaves.end());
  return out;
}

void Optimizer::zero_gradients() {
  adam_.gradients.zero_();
  muon_.gradients.zero_();
}

double Optimizer::step(double rate, double muon_rate) {
  const auto norm_of = [](const Group& group) {
    return group.items.empty() ? 0.0 : group.gradients.norm().item<double>();
  };
  const double norm = std::hypot(norm_of(adam_), norm_of(muon_));
  if (!std::isfinite(norm)) return norm;
  if (norm > config_.clip_norm) {
    adam_.gradients.mul_(config_.clip_norm / norm);
    muon_.gradients.mul_(config_.clip_norm / norm);
  }
  ++steps_;
  if (adam_.values.numel() > 0) adam_step(rate);
  if (muon_.values.numel() > 0) muon_step(muon_rate);
  for (const Group* group : {&adam_, &muon_}) group->mark_changed();
  if (config_.ema_decay > 0) update_ema();
  return norm;
}

void Optimizer::adam_step(double rate) {
  // The fused operation counts the step itself before using it.
  at::Tensor taken = at::full({}, static_cast<double>(steps_ - 1), adam_.values.options()).add_(1);
  at::Tensor values = adam_.values, gradients = adam_.gradients, first = adam_.first, second = adam_.second;
  at::_fused_adamw_({values}, {gradients}, {first}, {second}, {}, {taken}, rate, config_.beta1, config_.beta2,
                    config_.weight_decay, config_.eps, false, false);
}

void Optimizer::muon_step(double rate) {
  muon_.first.mul_(config_.muon_momentum).add_(muon_.gradients);
  const at::Tensor momentum = muon_.gradients + config_.muon_momentum * muon_.first;
  std::map<std::vector<int64_t>, std::vector<const Item*>> by_shape;
  for (const Item& item : muon_.items) by_shape[item.shape].push_back(&item);
  for (const auto& [shape, items] : by_shape) {
    std::vector<at::Tensor> stack;
    for (const Item* item : items) stack.push_back(muon_.view(momentum, *item));
    const at::Tensor update = orthogonalize(at::stack(stack));
    const double scale = rate * std::sqrt(std::max(1.0, static_cast<double>(shape[0]) / static_cast<double>(shape[1])));
    for (size_t i = 0; i < items.size(); ++i) {
      at::Tensor value = muon_.view(muon_.values, *items[i]);
      value.mul_(1 - rate * config_.weight_decay).sub_(update[static_cast<int64_t>(i)], scale);
    }
  }
}

void Optimizer::update_ema() {
  const auto taken = static_cast<double>(steps_);
  const double decay = std::min(config_.ema_decay, (1 + taken) / (10 + taken));
  for (Group* group : {&adam_, &muon_}) group->ema.lerp_(group->values, 1 - decay);
}

void Optimizer::swap_ema() {
  TORCH_CHECK(config_.ema_decay > 0, "swap_ema: this optimizer keeps no moving average");
  for (Group* group : {&adam_, &muon_}) {
    const at::Tensor live = group->values.clone();
    group->values.copy_(group->ema);
    group->ema.copy_(live);
    group->mark_changed();
  }
}

std::map<std::string, at::Tensor> Optimizer::state() const {
  std::map<std::string, at::Tensor> out;
  for (const Group* group : {&adam_, &muon_})
    for (const Item& item : group->items) {
      out["weight/" + item.name] = group->view(group->values, item);
      out["first/" + item.name] = group->view(group->first, item);
      if (group->second.defined()) out["second/" + item.name] = group->view(group->second, item);
      if (group->ema.defined()) out["ema/" + item.name] = group->view(group->ema, item);
    }
  return out;
}

void Optimizer::load(const std::map<std::string, at::Tensor>& state, int64_t steps, const std::string& where) {
  for (auto& [name, slot] : this->state()) {
    const auto found = state.find(name);
    if (found == state.end())
      throw Error(where + ": tensor " + name + " is missing; was it written by another model or optimizer?");
    if (found->second.sizes() != slot.sizes())
      throw Error(c10::str(where, ": ", name, " is ", found->second.sizes(), ", want ", slot.sizes()));
    slot.copy_(found->second);
  }
  steps_ = steps;
}

at::Tensor orthogonalize(const at::Tensor& matrices) {
  // Coefficients of the quintic iteration published with Muon.
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
  const bool tall = matrices.size(-2) > matrices.size(-1);
  at::Tensor x = tall ? matrices.transpose(-2, -1) : matrices;
  x = (x / (x.flatten(1).norm(2, {1}, false).view({-1, 1, 1}) + 1e-7)).to(at::kBFloat16).contiguous();
  for (int step = 0; step < 5; ++step) {
    const at::Tensor gram = x.matmul(x.transpose(-2, -1));
    const at::Tensor poly = at::baddbmm(gram, gram, gram, kB, kC);
    x = at::baddbmm(x, poly, x, kA, 1.0);
  }
  return (tall ? x.transpose(-2, -1) : x).to(at::kFloat);
}

double trapezoid(double progress, double warmup, double decay, double floor) {
  if (progress < warmup) return std::max(progress / warmup, 1e-3);
  if (decay == 0) return 1.0;
  const double falling = (1.0 - progress) / decay;
  return falling >= 1.0 ? 1.0 : floor + (1.0 - floor) * std::max(falling, 0.0);
}

}  // namespace tessera
