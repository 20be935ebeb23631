#include "pipelines/denoise_tasks.h"

#include <ATen/ATen.h>

namespace tessera {
namespace {

void add_rows(NormalizerReport& report, const NormalizerStats& stats, const TaskRows& rows) {
  const auto sum = [&](const at::Tensor& counts) {
    return counts.narrow(0, rows.first, rows.count).sum().item<int64_t>();
  };
  report.values += sum(stats.values);
  report.near_zero += sum(stats.near_zero);
  report.negative += sum(stats.negative);
}

}  // namespace

std::vector<DenoiseResult> denoise_tasks(std::vector<SampleTask>& tasks, const ConditionalModel& network,
                                         const NormalizerStats& stats, BatchLimit& limit, Progress& progress,
                                         std::function<void(std::span<const TaskRows>)> before_call) {
  std::vector<NormalizerReport> normalizers(tasks.size());
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
                       .normalizers = normalizers[i],
                       .failure = samples[i].failure});
  return results;
}

}  // namespace tessera
