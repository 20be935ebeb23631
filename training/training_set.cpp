#include "training/training_set.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "core/text.h"
#include "training/counter_rng.h"

namespace tessera {
namespace {

/// What a random stream is for: streams of one seed must not be alike.
enum Stream : uint64_t { kOrderStream = 101, kDrawStream = 102, kNoiseStream = 103, kValidationStream = 104 };

uint64_t stream_seed(uint64_t seed, Stream stream) {
  return CounterRng::mix(seed * 1000 + stream);
}

/// A seed for seeded_noise that no other (stream, index) has.
uint64_t noise_seed(uint64_t seed, Stream stream, int64_t index) {
  return CounterRng(stream_seed(seed, stream), static_cast<uint64_t>(index)).next();
}

}  // namespace

TrainingSet::TrainingSet(DataCache cache, const TrainingSetOptions& options)
    : cache_(std::move(cache)), options_(options) {
  hold_out();
  std::map<std::vector<int64_t>, int64_t> groups;
  std::vector<int64_t> group_of;
  for (const CachedClip& clip : training_)
    group_of.push_back(groups.emplace(clip.shape, static_cast<int64_t>(groups.size())).first->second);
  plan_.emplace(group_of, options_.batch, stream_seed(options_.seed, kOrderStream));
}

void TrainingSet::hold_out() {
  std::map<std::string, std::string> first_key;  // item -> the key of a clip, which is as good as random
  for (const CachedClip& clip : cache_.clips) first_key.emplace(clip.name, clip.latents);
  std::vector<std::pair<std::string, std::string>> order;
  for (const auto& [name, key] : first_key) order.emplace_back(key, name);
  std::sort(order.begin(), order.end());
  const auto items = static_cast<int64_t>(order.size());
  const int64_t held =
      options_.validation > 0 ? std::max<int64_t>(1, std::lround(options_.validation * static_cast<double>(items))) : 0;
  if (held >= items)
    throw Error(cache_.folder.string() + ": has " + counted(items, "item") +
                ", too few to hold some out for validation; set validation to 0 or add items");
  std::set<std::string> names;
  for (int64_t i = 0; i < held; ++i) names.insert(order[static_cast<size_t>(i)].second);
  for (const CachedClip& clip : cache_.clips) (names.count(clip.name) ? validation_ : training_).push_back(clip);
}

FlowBatch TrainingSet::batch(int64_t index) {
  std::vector<at::Tensor> latents, noise, context;
  std::vector<double> times;
  const std::vector<int64_t>& items = plan_->batch(index);
  for (size_t row = 0; row < items.size(); ++row) {
    const CachedClip& clip = training_[static_cast<size_t>(items[row])];
    const int64_t draw = index * options_.batch + static_cast<int64_t>(row);
    CounterRng rng(stream_seed(options_.seed, kDrawStream), static_cast<uint64_t>(draw));
    constexpr double kEdge = 1e-6;
    times.push_back(options_.times.quantile(std::clamp(rng.uniform(), kEdge, 1 - kEdge)));
    const bool dropped = rng.uniform() < options_.caption_dropout;
    latents.push_back(cache_.latents(clip));
    noise.push_back(seeded_noise(latents.back().sizes(), noise_seed(options_.seed, kNoiseStream, draw)));
    context.push_back(cache_.text(dropped ? cache_.empty_text : clip.text));
  }
  return {at::stack(latents), at::stack(noise), at::tensor(times, at::kDouble).to(at::kFloat), at::stack(context)};
}

FlowBatch TrainingSet::validation_batch(int64_t i, int64_t k) const {
  const CachedClip& clip = validation_.at(static_cast<size_t>(i));
  const at::Tensor latents = cache_.latents(clip).unsqueeze(0);
  const double part = (static_cast<double>(k) + 0.5) / static_cast<double>(kValidationTimes);
  const uint64_t seed = noise_seed(options_.seed, kValidationStream, i * kValidationTimes + k);
  return {latents, seeded_noise(latents.sizes(), seed),
          at::tensor({options_.times.quantile(part)}, at::kDouble).to(at::kFloat), cache_.text(clip.text).unsqueeze(0)};
}

}  // namespace tessera
