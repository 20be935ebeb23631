#include "training/batch_parts.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>  // gradients of a part that are not added up in the leaves

#include <algorithm>
#include <atomic>
#include <memory>

#include "core/threads.h"

namespace tessera {
namespace {

std::vector<double> numbers(const std::vector<at::Tensor>& scalars) {
  std::vector<double> out;
  for (const at::Tensor& scalar : scalars) out.push_back(scalar.item<double>());
  return out;
}

/// What one part of a batch gives: its means and its gradients, both times its share of the batch. A leaf that the loss
/// does not depend on has no gradient.
struct Part {
  std::vector<double> means;
  std::vector<at::Tensor> gradients;

  Part(const MeansOfSamples& means_of, const std::vector<at::Tensor>& leaves, int64_t first, int64_t count,
       int64_t samples) {
    const double share = static_cast<double>(count) / static_cast<double>(samples);
    const std::vector<at::Tensor> scalars = means_of(first, count);
    gradients =
        torch::autograd::grad({scalars.front() * share}, leaves, {}, c10::nullopt, false, /*allow_unused=*/true);
    means = numbers(scalars);
    for (double& mean : means) mean *= share;
  }
};

/// While it lives, operations of this thread use no other. (Where LibTorch knows that it is called by one of several
/// threads of its own, oneDNN's gradients of filters wait for ever for threads that they counted before.)
class Alone {
 public:
  Alone() { use_threads_here(1); }
  ~Alone() { use_threads_here(before_); }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;

 private:
  int before_ = at::get_num_threads();
};

/// Calls work(0) to work(count - 1), side by side, each on one thread.
void each_alone(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  run_on_threads(count, [&] {
    const Alone here;
    for (int64_t i = next++; i < count; i = next++) work(i);
  });
}

}  // namespace

int64_t parts_of_batch(int64_t samples, at::Device device) {
  const int64_t threads = at::get_num_threads();
  return !device.is_cpu() || threads > 2 * samples ? 1 : std::min(threads, samples);
}

std::vector<double> backward_in_parts(Optimizer& optimizer, int64_t samples, int64_t parts,
                                      const MeansOfSamples& means) {
  if (parts == 1) {
    const std::vector<at::Tensor> scalars = means(0, samples);
    scalars.front().backward();
    return numbers(scalars);
  }
  const std::vector<at::Tensor> leaves = optimizer.leaves();
  std::vector<std::unique_ptr<Part>> computed(static_cast<size_t>(parts));
  each_alone(parts, [&](int64_t i) {
    const int64_t first = samples * i / parts, next = samples * (i + 1) / parts;
    computed[static_cast<size_t>(i)] = std::make_unique<Part>(means, leaves, first, next - first, samples);
  });
  for (size_t i = 0; i < leaves.size(); ++i)
    for (const auto& part : computed)
      if (part->gradients[i].defined()) leaves[i].grad().add_(part->gradients[i]);
  std::vector<double> out = computed.front()->means;
  for (size_t i = 1; i < computed.size(); ++i)
    for (size_t j = 0; j < out.size(); ++j) out[j] += computed[i]->means[j];
  return out;
}

}  // namespace tessera
