#include "pipelines/generate.h"

#include <c10/core/InferenceMode.h>

#include <chrono>
#include <memory>
#include <optional>

#include "checkpoints/bundled_model.h"
#include "core/cancel.h"
#include "core/disk_space.h"
#include "core/error.h"
#include "pipelines/families/dit/renderer.h"
#include "pipelines/families/wan/text_to_video.h"
#include "pipelines/latents.h"
#include "pipelines/output.h"
#include "pipelines/recipe.h"

namespace tessera {
namespace {

class Stopwatch {
 public:
  /// Seconds since construction or the last lap.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// One job on its way: what is decided, and the parts of the model that are in memory.
class Generation {
 public:
  Generation(const Job& asked, const GenerateListener& listener)
      : listener_(listener),
        device_(open_device(asked.device)),
        model_(open_wan_model(asked.model.empty() ? find_bundled_model() : std::filesystem::path(asked.model))),
        tokenizer_(load_tokenizer(model_)),
        latents_(asked.latents.empty() ? at::Tensor() : read_latents(asked.latents, model_)) {
    job_ = complete_job(asked, model_, latents_, notes_);
    notes_.push_back("seed " + std::to_string(job_.seed));
  }

  void run() {
    check_free_space(job_.output, largest_output_bytes(job_));
    auto writer = open_writer(0);
    check_weights(model_);
    Stopwatch watch;
    const Conditioning conditioning = encode_text();
    const double text_seconds = watch.lap();
    std::optional<Loaded<WanTransformer>> transformer = load_transformer(model_, job_.dtype, device_);
    for (int64_t i = 0; i < job_.count; ++i) {
      if (i > 0) writer = open_writer(i);
      watch.lap();
      StepCache cache(job_.step_cache.value_or(0.0));
      NormalizerStats stats;
      const at::Tensor latents = denoise_output(*transformer, conditioning, cache, stats, i);
      const NormalizerReport normalizers = report_of(stats);
      if (i + 1 == job_.count) transformer.reset();
      const double denoise_seconds = watch.lap();
      decode_output(latents, *writer, i);
      listener_.done({output_name(job_, i), output_files(job_, i), output_recipe(job_, i), text_seconds,
                      denoise_seconds, watch.lap(), cache.report(), normalizers});
    }
  }

 private:
  std::unique_ptr<FrameWriter> open_writer(int64_t i) {
    auto writer = open_output(job_, i);
    if (i == 0 && !writer->note().empty()) notes_.push_back(writer->note());
    return listener_.tapped(std::move(writer));
  }

  at::Tensor encode(const Umt5Encoder& encoder, const std::string& text, const std::string& what) {
    const int64_t length = *job_.max_sequence_length;
    const PromptTokens tokens = tokenize_prompt(tokenizer_, text, length);
    if (tokens.dropped > 0)
      listener_.note("the " + what + " is longer than " + std::to_string(length) + " tokens: its last " +
                     std::to_string(tokens.dropped) + " are not seen");
    return encode_prompt(encoder, tokens.ids, length, device_);
  }

  Conditioning encode_text() {
    const auto encoder = load_text_encoder(model_, job_.dtype, device_);
    // Nothing of the input can be refused from here on, so a refusal is one line.
    for (const auto& text : notes_) listener_.note(text);
    throw_if_canceled();
    Conditioning conditioning{encode(encoder.part, job_.prompt, "prompt"), {}};
    throw_if_canceled();
    if (*job_.cfg_scale > 1) conditioning.negative = encode(encoder.part, job_.negative_prompt, "negative prompt");
    return conditioning;
  }

  at::Tensor denoise_output(const Loaded<WanTransformer>& transformer, const Conditioning& conditioning,
                            StepCache& cache, NormalizerStats& stats, int64_t i) {
    const auto draw = noise_source(static_cast<uint64_t>(job_.seed + i));
    const at::Tensor noise = latents_.defined() ? latents_.narrow(0, i, 1) : draw(latent_shape(job_, model_));
    const auto sampler = sampler_of(job_, model_);
    sampler->set_noise(draw);
    Progress progress(label("denoising", i), sampler->calls(), listener_.progress);
    const at::Tensor latents = denoise(
        *sampler, transformer, conditioning, noise.to(device_), guidance_of(job_), cache,
        [&](int64_t, int64_t, const at::Tensor&) { progress.advance(); }, &stats);
    if (job_.step_cache) listener_.note(step_cache_text(cache.report()));
    return latents;
  }

  /// The counts, and a line for the user when the guard had to step in.
  NormalizerReport report_of(const NormalizerStats& stats) const {
    if (!stats.values.defined()) return {};
    const NormalizerReport report{stats.values.item<int64_t>(), stats.near_zero.item<int64_t>(),
                                  stats.negative.item<int64_t>()};
    if (report.near_zero > 0)
      listener_.note(std::to_string(report.near_zero) + " of " + std::to_string(report.values) +
                     " normalizers of MHLA were nearly zero and were held away from it; " +
                     std::to_string(report.negative) + " were negative");
    return report;
  }

  void decode_output(const at::Tensor& latents, FrameWriter& writer, int64_t i) {
    const auto vae = load_vae(model_, job_.dtype, device_);
    Progress progress(label("decoding", i), *job_.frames, listener_.progress);
    const std::string problem = decode_to(writer, model_, vae, latents, progress, job_);
    if (problem.empty()) return;
    const std::string kept = output_name(job_, i) + ".latents.safetensors";
    save_latents(kept, latents, job_, i);
    throw Error("the frames of " + output_name(job_, i) + " are " + problem + "; the latents are kept in " + kept +
                    "; try --dtype fp32, another seed or a lower --cfg-scale",
                ExitCode::kBadPixels);
  }

  std::string label(const std::string& stage, int64_t i) const {
    return job_.count == 1 ? stage : stage + " " + std::to_string(i + 1) + "/" + std::to_string(job_.count);
  }

  const GenerateListener& listener_;
  at::Device device_;
  WanModel model_;
  Tokenizer tokenizer_;
  at::Tensor latents_;
  std::vector<std::string> notes_;
  Job job_;
};

}  // namespace

void generate(const Job& job, const GenerateListener& listener) {
  open_device(job.device);  // before the first tensor
  if (!job.model.empty() && is_dit_model(job.model)) return generate_classes(job, listener);
  const c10::InferenceMode inference;
  Generation(job, listener).run();
}

}  // namespace tessera
