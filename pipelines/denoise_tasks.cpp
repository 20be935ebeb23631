#include "pipelines/denoise_tasks.h"

#include <ATen/ATen.h>

namespace tessera {
namespace {

/// Counts of a task's normalizers, int64 [3] where the network computes: adding to them waits for nothing.
void add_rows(at::Tensor& counts, const NormalizerStats& stats, const TaskRows& rows) {
  const auto sum = [&](const at::Tensor& each) { return each.narrow(0, rows.first, rows.count).sum(); };
  const at::Tensor more = at::stack({sum(stats.values), sum(stats.near_zero), sum(stats.negative)});
  counts = counts.defined() ? counts + more : more;
}

NormalizerReport report_of(const at::Tensor& counts) {
  if (!counts.defined() || counts.is_meta()) return {};
  const at::Tensor here = counts.cpu();
  const auto number = [&](int64_t i) { return here[i].item<int64_t>(); };
  return {.values = number(0), .near_zero = number(1), .negative = number(2)};
}

}  // namespace

std::vector<DenoiseResult> denoise_tasks(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                         const NormalizerStats& stats, BatchLimit& limit, Progress& progress,
                                         std::function<void(std::span<const TaskRows>)> before_call) {
  std::vector<at::Tensor> normalizers(tasks.size());
  SampleCallbacks callbacks;
  callbacks.before_network_call = std::move(before_call);
  callbacks.on_round = [&] { progress.advance(); };
  callbacks.on_network_call = [&](std::span<const TaskRows> calls) {
    if (!stats.values.defined()) return;  // a network without normalizers
    for (const TaskRows& rows : calls) add_rows(normalizers[rows.task], stats, rows);
  };
  const std::vector<SampleResult> samples = sample_batch(tasks, network, limit, callbacks);
  std::vector<DenoiseResult> results;
  for (size_t i = 0; i < samples.size(); ++i)
    results.push_back({.latents = samples[i].sample,
                       .step_cache = samples[i].step_cache,
                       .normalizers = report_of(normalizers[i]),
                       .failure = samples[i].failure});
  return results;
}

}  // namespace tessera
