#include "pipelines/families/wan/network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "models/attention/probe.h"

namespace tessera {

namespace {

/// Whether two calls have the rows of the same tasks: then they have the same conditions too, which a task does not
/// change.
bool same_tasks(const std::vector<TaskRows>& a, const std::vector<TaskRows>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const TaskRows& one, const TaskRows& other) {
    return one.task == other.task && one.first == other.first && one.count == other.count;
  });
}

}  // namespace

at::Tensor with_first_frame(const at::Tensor& latents, const at::Tensor& first_frame) {
  if (!first_frame.defined()) return latents;
  return at::cat({first_frame.to(latents.options()), latents.slice(2, 1)}, 2);
}

at::Tensor WanNetwork::of_rows(at::Tensor ImageCondition::*part) const {
  std::vector<at::Tensor> all;
  for (const TaskRows& rows : rows_) {
    const at::Tensor& one = images_.at(rows.task).*part;
    if (!one.defined()) return {};
    std::vector<int64_t> sizes = one.sizes().vec();
    sizes[0] = rows.count;
    all.push_back(one.expand(sizes));
  }
  return all.empty() ? at::Tensor() : at::cat(all);
}

at::Tensor WanNetwork::operator()(const at::Tensor& x, const at::Tensor& timesteps, const at::Tensor& context) {
  if (stats_) *stats_ = {};
  if (probe_) probe_->begin_call(timesteps);
  const auto& [which, transformer] = experts_(rows_.at(0).timestep);
  if (std::exchange(kept_by_, which) != which) kept_ = {};
  kept_.unchanged = same_tasks(rows_, std::exchange(known_rows_, rows_));
  const auto seen_as = [dtype = transformer.dtype](const at::Tensor& t) { return t.defined() ? t.to(dtype) : t; };
  at::Tensor seen = x, times = timesteps;
  if (const at::Tensor channels = of_rows(&ImageCondition::channels); channels.defined())
    seen = at::cat({x, channels.to(x.options())}, 1);
  if (const at::Tensor first = of_rows(&ImageCondition::first_frame); first.defined()) {
    seen = with_first_frame(x, first);
    times = timesteps.unsqueeze(1).repeat({1, x.size(2)});  // one for each frame
    times.select(1, 0).zero_();
  }
  return transformer.part(seen_as(seen), times, seen_as(context), stats_, probe_,
                          seen_as(of_rows(&ImageCondition::states)), &kept_);
}

}  // namespace tessera
