#include "training/denoiser_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "core/atomic_file.h"
#include "core/natural_order.h"
#include "core/printable.h"
#include "core/rng.h"
#include "core/transfer.h"
#include "training/caption_tokenizer.h"
#include "training/captions.h"
#include "training/counter_rng.h"
#include "training/export.h"
#include "training/flow_loss.h"
#include "training/sheet.h"
#include "weights/bind.h"
#include "weights/trained_on.h"

namespace tessera {
namespace {

constexpr uint64_t kSheetSeed = 88001;

double fraction(const JsonConfig& json, const std::string& key, double fallback) {
  const double value = json.number(key, fallback);
  if (!(value >= 0 && value <= 1)) json.fail(key, "must be in [0, 1]");
  return value;
}

double positive_number(const JsonConfig& json, const std::string& key, double fallback) {
  const double value = json.number(key, fallback);
  if (!(value > 0)) json.fail(key, "must be positive");
  return value;
}

nlohmann::json text_encoder_config(nlohmann::json config, const Tokenizer& tokenizer) {
  config["vocab_size"] = tokenizer.vocab_size();
  config["architectures"] = {"UMT5EncoderModel"};
  config["model_type"] = "umt5";
  config["pad_token_id"] = tokenizer.pad_id();
  config["eos_token_id"] = tokenizer.eos_id();
  return config;
}

TrainedOn trained_on(const std::vector<SceneSize>& scenes) {
  std::set<std::string, decltype(&natural_less)> sizes(&natural_less);
  std::set<int64_t> frames;
  for (const SceneSize& size : scenes) {
    sizes.insert(std::to_string(size.width) + "x" + std::to_string(size.height));
    frames.insert(size.frames);
  }
  return {.sizes = {sizes.begin(), sizes.end()}, .frames = {frames.begin(), frames.end()}, .words = caption_words()};
}

/// The run's own tokenizer, trained when the run begins and kept, because a checkpoint's token table belongs to it.
std::string run_tokenizer(const std::filesystem::path& file) {
  if (std::filesystem::exists(file)) {
    std::ostringstream bytes;
    bytes << std::ifstream(file, std::ios::binary).rdbuf();
    return bytes.str();
  }
  const std::string model = train_caption_tokenizer();
  write_file_atomically(file, model);
  return model;
}

std::unique_ptr<SceneModel> make_model(const DenoiserTrainConfig& config, const std::string& tokenizer_model) {
  const Component vae = open_component(config.vae);
  const Tokenizer tokenizer = Tokenizer::from_bytes(tokenizer_model, "the captions' tokenizer");
  const JsonConfig text(text_encoder_config(config.text_encoder, tokenizer), "text_encoder");
  std::unique_ptr<SceneModel> model(new SceneModel{
      tokenizer, Umt5Encoder(Umt5Config::from_json(text)),
      WanTransformer(WanTransformerConfig::from_json(JsonConfig(config.transformer, "transformer"))),
      WanVae(WanVaeConfig::from_json(vae.config())), config.text_length, config.run.dtype, config.run.device});
  ParamList params;
  model->vae.params(params);
  bind(params, read_weights(vae), config.run.dtype, config.run.device);
  return model;
}

/// "scene_sizes", or else one size of stills and one of clips. Without clips in the run none are encoded.
std::vector<SceneSize> read_sizes_of(const JsonConfig& json, const DenoiserTrainConfig& config) {
  const bool clips = config.videos_from < 1;
  if (!json.has("scene_sizes")) {
    std::vector<SceneSize> plain = {
        {config.side, config.side, 1, at_least(json, "stills", 8192, 1), at_least(json, "image_batch", 64, 1)}};
    if (clips && config.frames < 2) json.fail("frames", "must be more than 1 unless videos_from is 1");
    if (clips)
      plain.push_back({config.side, config.side, config.frames, at_least(json, "clips", 2560, 1),
                       at_least(json, "video_batch", 12, 1)});
    return plain;
  }
  for (const char* key : {"stills", "clips", "image_batch", "video_batch"})
    if (json.has(key)) json.fail(key, "belongs to each of scene_sizes (count, batch)");
  const std::vector<SceneSize> sizes = read_scene_sizes(json, "scene_sizes");
  const auto has = [&](bool video) {
    return std::any_of(sizes.begin(), sizes.end(), [&](const SceneSize& size) { return size.video() == video; });
  };
  if (config.videos_from > 0 && !has(false)) json.fail("scene_sizes", "must hold a size of 1 frame for the first part");
  if (clips && !has(true)) json.fail("scene_sizes", "must hold a size of several frames, or videos_from be 1");
  return sizes;
}

}  // namespace

DenoiserTrainConfig DenoiserTrainConfig::read(const std::filesystem::path& path) {
  const JsonConfig json = JsonConfig::read(path);
  std::vector<std::string> known = RunConfig::keys();
  for (const char* key :
       {"vae",         "output",       "text_encoder",    "transformer",  "generation_defaults", "text_length",
        "side",        "frames",       "stills",          "clips",        "image_batch",         "video_batch",
        "videos_from", "video_part",   "image_shift",     "video_shift",  "caption_dropout",     "muon_rate",
        "ema_decay",   "sample_shift", "sample_guidance", "sample_steps", "scene_sizes",         "latents",
        "noise_part",  "spin_part"})
    known.emplace_back(key);
  json.reject_unknown(known);
  DenoiserTrainConfig config;
  config.run = RunConfig::from_json(json);
  config.vae = json.text("vae");
  config.output = json.text("output");
  config.text_encoder = json.object("text_encoder").json();
  config.transformer = json.object("transformer").json();
  config.generation_defaults = nlohmann::json::object();
  if (json.has("generation_defaults")) config.generation_defaults = json.object("generation_defaults").json();
  config.text_length = at_least(json, "text_length", config.text_length, 2);
  config.side = at_least(json, "side", config.side, 16);
  config.frames = at_least(json, "frames", config.frames, 1);
  config.sample_steps = at_least(json, "sample_steps", config.sample_steps, 1);
  config.videos_from = fraction(json, "videos_from", config.videos_from);
  config.sizes = read_sizes_of(json, config);
  config.latents = json.text("latents", config.run.folder.string());
  config.video_part = fraction(json, "video_part", config.video_part);
  config.noise_part = fraction(json, "noise_part", config.noise_part);
  config.spin_part = fraction(json, "spin_part", config.spin_part);
  config.caption_dropout = fraction(json, "caption_dropout", config.caption_dropout);
  config.ema_decay = fraction(json, "ema_decay", config.ema_decay);
  config.image_shift = positive_number(json, "image_shift", config.image_shift);
  config.video_shift = positive_number(json, "video_shift", config.video_shift);
  config.muon_rate = positive_number(json, "muon_rate", config.muon_rate);
  config.sample_shift = positive_number(json, "sample_shift", config.sample_shift);
  config.sample_guidance = positive_number(json, "sample_guidance", config.sample_guidance);
  return config;
}

DenoiserTrainer::DenoiserTrainer(DenoiserTrainConfig config)
    : Trainer(config.run),
      config_(std::move(config)),
      tokenizer_model_(run_tokenizer(run_.file("spiece.model"))),
      model_(make_model(config_, tokenizer_model_)) {
  model_->transformer.params(params_, "transformer.");
  model_->text_encoder.params(params_, "text_encoder.");
  initialize(params_, config_.run.seed, config_.run.device);
  load_scenes();
  OptimizerConfig optimizer;
  optimizer.ema_decay = config_.ema_decay;
  optimizer.muon = {"transformer.blocks."};
  start(params_, optimizer);
}

void DenoiserTrainer::load_scenes() {
  model_->check_sizes(config_.sizes, config_.vae.string());
  make_folder(config_.latents);
  for (const SceneSize& size : config_.sizes) {
    const uint64_t seed = config_.run.seed * 10 + 1 + scenes_.size();  // every size has scenes of its own
    scenes_.push_back(load_latents(
        *model_, renderer_,
        {config_.latents / size.file(), seed, size.video(), size.count, size.frames, size.height, size.width}));
    spinning_.push_back(scenes_.back().rows_of(Motion::kSpin));
  }
}

DenoiserTrainer::Batch DenoiserTrainer::draw_batch(size_t size) const {
  const LatentCache& cache = scenes_[size];
  CounterRng rng(config_.run.seed * 31 + 7, static_cast<uint64_t>(run_.step()));
  Batch batch;
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < config_.sizes[size].batch; ++i) {
    rows.push_back(draw_row(cache, spinning_[size], config_.spin_part, rng));
    const int64_t wording = rng.below(caption_wordings());
    const bool dropped = rng.uniform() < config_.caption_dropout;
    batch.captions.push_back(dropped ? "" : caption(cache.scene(rows.back()), wording));
  }
  batch.latents =
      uploaded(cache.latents.index_select(0, at::tensor(rows, at::kLong)).to(at::kFloat), config_.run.device);
  return batch;
}

at::Tensor DenoiserTrainer::draw_times(int64_t count, double shift) const {
  CounterRng rng(config_.run.seed * 31 + 8, static_cast<uint64_t>(run_.step()));
  const double offset = rng.uniform();
  const auto high = static_cast<int64_t>(config_.noise_part * static_cast<double>(count) + rng.uniform());
  return at::cat({logit_normal_times(count - high, offset, shift), noisy_times(high, offset)});
}

double DenoiserTrainer::step() {
  CounterRng rng(config_.run.seed * 31 + 9, static_cast<uint64_t>(run_.step()));
  const bool video = run_.progress() >= config_.videos_from && rng.uniform() < config_.video_part;
  const size_t size = choose_scene_size(config_.sizes, video, rng.uniform());
  const Batch batch = draw_batch(size);
  const at::Device device = config_.run.device;
  const at::Tensor times =
      uploaded(draw_times(batch.latents.size(0), video ? config_.video_shift : config_.image_shift), device);
  const uint64_t noise_seed = config_.run.seed * 1000003 + static_cast<uint64_t>(run_.step());
  const at::Tensor noise = uploaded(seeded_noise(batch.latents.sizes(), noise_seed), device);
  const double loss = backward(batch.latents.size(0), device, [&](int64_t first, int64_t count) {
                        const auto captions = batch.captions.begin() + first;
                        return std::vector{flow_loss(model_->transformer,
                                                     {.latents = batch.latents.narrow(0, first, count),
                                                      .noise = noise.narrow(0, first, count),
                                                      .times = times.narrow(0, first, count),
                                                      .context = model_->context({captions, captions + count})},
                                                     config_.run.dtype)};
                      }).front();
  const double factor = run_.rate_factor();
  const double norm = optimizer_->step(config_.run.learning_rate * factor, config_.muon_rate * factor);
  run_.record("denoiser", batch.latents.size(0), {{video ? "video" : "image", loss}, {"norm", norm}});
  return loss;
}

void DenoiserTrainer::draw_sheet() {
  const int64_t count = 9;
  std::vector<std::string> image_prompts, clip_prompts;
  std::vector<uint64_t> image_seeds, clip_seeds;
  for (uint64_t i = 0; i < 2 * static_cast<uint64_t>(count); ++i) {
    image_prompts.push_back(caption(sample_scene(kSheetSeed, i, false)));
    image_seeds.push_back(i);
  }
  SceneSampling sampling;
  sampling.height = sampling.width = config_.side;
  sampling.steps = config_.sample_steps;
  sampling.guidance = config_.sample_guidance;
  sampling.flow_shift = config_.sample_shift;
  sampling.frames = 1;
  optimizer_->swap_ema();
  std::vector<std::vector<at::Tensor>> rows(2);
  const std::vector<at::Tensor> images = model_->sample(image_prompts, image_seeds, sampling);
  for (size_t i = 0; i < images.size(); ++i) rows[i / static_cast<size_t>(count)].push_back(images[i].select(1, 0));
  if (config_.videos_from < 1 && run_.progress() >= config_.videos_from) {
    for (uint64_t i = 0; i < 4; ++i) {
      clip_prompts.push_back(caption(sample_scene(kSheetSeed, i, true)));
      clip_seeds.push_back(i);
    }
    sampling.frames = config_.frames;
    for (const at::Tensor& clip : model_->sample(clip_prompts, clip_seeds, sampling)) {
      rows.emplace_back();
      for (int64_t i = 0; i < count; ++i) rows.back().push_back(clip.select(1, i * (config_.frames - 1) / (count - 1)));
    }
  }
  optimizer_->swap_ema();
  write_sheet(run_.file("sheet.png"), rows);
  std::string prompts;
  for (const auto& list : {image_prompts, clip_prompts})
    for (const std::string& prompt : list) prompts += prompt + "\n";
  write_file_atomically(run_.file("sheet.txt"), prompts);
}

void DenoiserTrainer::write_output() {
  make_folder(config_.output);
  const auto part = [&](const char* name, const char* library, const char* class_name) {
    make_folder(config_.output / name);
    return Component{name, library, class_name, config_.output / name};
  };
  const Component transformer = part("transformer", "diffusers", "WanTransformer3DModel");
  const Component text_encoder = part("text_encoder", "transformers", "UMT5EncoderModel");
  const Component vae = part("vae", "diffusers", "AutoencoderKLWan");
  const Component scheduler = part("scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler");
  const Component tokenizer = part("tokenizer", "transformers", "T5Tokenizer");
  ParamList transformer_params, text_params, vae_params;
  model_->transformer.params(transformer_params);
  model_->text_encoder.params(text_params);
  model_->vae.params(vae_params);
  optimizer_->swap_ema();
  export_component(transformer, config_.transformer, transformer_params);
  export_component(text_encoder, text_encoder_config(config_.text_encoder, model_->tokenizer), text_params);
  optimizer_->swap_ema();
  export_component(vae, open_component(config_.vae).config().json(), vae_params);
  write_json(scheduler.folder / "scheduler_config.json",
             {{"_class_name", scheduler.class_name}, {"num_train_timesteps", 1000}, {"shift", config_.sample_shift}});
  write_file_atomically(tokenizer.folder / "spiece.model", tokenizer_model_);
  write_json(tokenizer.folder / "tokenizer_config.json", {{"tokenizer_class", tokenizer.class_name},
                                                          {"model_max_length", config_.text_length},
                                                          {"pad_token", "<pad>"},
                                                          {"eos_token", "</s>"},
                                                          {"unk_token", "<unk>"},
                                                          {"extra_ids", 0}});
  write_model_index(config_.output, "WanPipeline", {transformer, text_encoder, vae, scheduler, tokenizer});
  nlohmann::json index = read_json_object(config_.output / "model_index.json");
  index["generation_defaults"] = config_.generation_defaults;
  index["generation_defaults"]["max_sequence_length"] = config_.text_length;
  index["trained_on"] = trained_on(config_.sizes).to_json();
  write_json(config_.output / "model_index.json", index);
  std::fprintf(stderr, "wrote %s\n", printable_line(config_.output.string()).c_str());
}

}  // namespace tessera
