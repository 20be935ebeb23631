#include "pipelines/offload.h"

#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "core/job.h"
#include "core/text.h"

namespace tessera {
namespace {

std::string gigabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

}  // namespace

Offload find_offload(const std::string& name) {
  const std::vector<std::string>& names = find_job_option("offload").choices;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw Error("--offload: unknown value \"" + name + "\"" + suggestion(name, names));
  return static_cast<Offload>(found - names.begin());
}

OffloadPlan plan_offload(const ModelBytes& sizes, int64_t free, Offload policy) {
  const auto& [text, transformer, autoencoder] = sizes;
  OffloadPlan plan;
  plan.budget = free - kKeptFree;
  const int64_t all = text.weights + transformer.weights + autoencoder.weights +
                      std::max({text.activations, transformer.activations, autoencoder.activations});
  if (policy == Offload::kNone || (policy == Offload::kAuto && all <= plan.budget)) {
    plan.peak = all;
    return plan;
  }
  plan.in_turn = true;
  const auto streams = [&](const PartBytes& part) {
    const bool needed = policy == Offload::kLayers || (policy == Offload::kAuto && part.whole() > plan.budget);
    return part.largest_layer > 0 && needed;
  };
  plan.stream_text_encoder = streams(text);
  plan.stream_transformer = streams(transformer);
  plan.peak = std::max({plan.stream_text_encoder ? text.streamed() : text.whole(),
                        plan.stream_transformer ? transformer.streamed() : transformer.whole(), autoencoder.whole()});
  return plan;
}

std::string offload_text(const OffloadPlan& plan) {
  std::string text = "GPU memory: about " + gigabytes(plan.peak) + " needed, " +
                     gigabytes(std::max<int64_t>(0, plan.budget)) + " free; ";
  std::vector<std::string> streamed;
  if (plan.stream_text_encoder) streamed.emplace_back("text encoder");
  if (plan.stream_transformer) streamed.emplace_back("transformer");
  if (!plan.in_turn)
    text += "everything stays on the GPU";
  else
    text += "parts come in turn";
  if (!streamed.empty()) text += ", layers of the " + joined(streamed, " and the ") + " are streamed";
  if (!plan.fits()) text += "; this may not fit: try a smaller --size, fewer --frames or --vae-tile 256";
  return text;
}

}  // namespace tessera
