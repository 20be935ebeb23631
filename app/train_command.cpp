#include "app/train_command.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>

#include "core/device.h"
#include "core/job.h"
#include "core/memory_cache.h"
#include "core/transfer.h"
#include "training/captions.h"
#include "training/classifier_trainer.h"
#include "training/denoiser_trainer.h"
#include "training/evaluator.h"
#include "training/flow_loss.h"
#include "training/language_trainer.h"
#include "training/rgb_fit.h"
#include "training/vae_trainer.h"

namespace tessera {
namespace {

struct EvaluateOptions {
  std::string model;
  int64_t prompts = 200, held_out = 50, stills = 100, reconstructed = 50, loss_scenes = 0;
  SceneSampling sampling;
  bool list = false;
  std::shared_ptr<TrainDevice> device;
};

void print_scene(const Scene& wanted, const Observation& seen) {
  const auto name = [](const auto& names, int64_t index) { return index < 0 ? std::string("none") : names(index); };
  const auto shape = [](int64_t i) { return shape_names()[i]; };
  const auto color = [](int64_t i) { return std::string(palette()[i].name); };
  std::printf("%s | %s %s on %s, %s, overlap %.2f\n", caption(wanted).c_str(), name(color, seen.color).c_str(),
              name(shape, seen.shape).c_str(), name(color, seen.background).c_str(),
              wanted.video ? motion_phrase(seen.motion) : "image", seen.match);
}

void run_evaluation(const EvaluateOptions& options) {
  const at::Device device = options.device->open();
  const auto model = open_scene_model(options.model, at::kBFloat16, device);
  const SceneSampling& wanted = options.sampling;
  model->check_sizes({{.width = wanted.width, .height = wanted.height, .frames = wanted.frames}}, options.model);
  const SceneRenderer renderer;
  const SceneReader reader(renderer);
  const MakeFrames make = [&](const std::vector<std::string>& prompts, const std::vector<uint64_t>& seeds, bool video) {
    SceneSampling sampling = options.sampling;
    if (!video) sampling.frames = 1;
    return model->sample(prompts, seeds, sampling);
  };
  const auto part = [&](const char* title, Split split, bool video, int64_t count) {
    if (count < 1) return;
    const Score score =
        evaluate(reader, make, {.split = split, .video = video, .count = count, .batch = video ? 8 : 32},
                 options.list ? print_scene : std::function<void(const Scene&, const Observation&)>());
    std::printf("%s: %s\n%s", title, score.text().c_str(), score.text_by_kind().c_str());
    std::fflush(stdout);
  };
  Score through;
  for (int64_t i = 0; i < options.reconstructed; ++i) {
    const c10::NoGradGuard no_gradients;
    const Scene scene = sample_scene(5151, static_cast<uint64_t>(i), true);
    const at::Tensor clip =
        renderer.clip(scene, options.sampling.frames, options.sampling.height, options.sampling.width);
    const at::Tensor mean = model->vae.encode(uploaded(clip.unsqueeze(0), device).to(model->dtype)).mean;
    through.add(scene, reader.read(model->vae.decode(mean)[0].cpu()));
  }
  if (through.total > 0) std::printf("rendered clips, encoded and decoded: %s\n", through.text().c_str());
  part("clips, training combinations", Split::kTraining, true, options.prompts);
  part("clips, held-out combinations", Split::kHeldOut, true, options.held_out);
  part("images, training combinations", Split::kTraining, false, options.stills);
  const auto loss = [&](const char* title, int64_t frames, int64_t prompts) {
    if (options.loss_scenes < 1 || prompts < 1) return;
    const SceneSize size{.width = wanted.width, .height = wanted.height, .frames = frames};
    std::printf("%s: flow loss %.4f\n", title,
                validation_flow_loss(*model, renderer, size, options.loss_scenes, wanted.flow_shift));
  };
  loss("clips", wanted.frames, options.prompts + options.held_out);
  loss("images", 1, options.stills);
}

void add_evaluate(CLI::App& train) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* evaluate = train.add_subcommand(
      "evaluate", "Measure how well a model written by train denoiser follows its prompts, by fixed rules");
  evaluate->add_option("--model", options->model, "Model directory")->required();
  evaluate->add_option("--prompts", options->prompts, "Number of clips of combinations seen in training")
      ->capture_default_str();
  evaluate->add_option("--held-out", options->held_out, "Number of clips of held-out combinations")
      ->capture_default_str();
  evaluate->add_option("--stills", options->stills, "Number of images")->capture_default_str();
  evaluate
      ->add_option("--reconstructed", options->reconstructed,
                   "Number of rendered clips that are only encoded and decoded: an upper bound for the denoiser")
      ->capture_default_str();
  evaluate
      ->add_option("--loss-scenes", options->loss_scenes,
                   "Number of clips and of images, which no training draws, whose flow loss is measured at fixed times "
                   "and noise")
      ->capture_default_str();
  evaluate->add_option("--width", options->sampling.width, "Width of images and clips, pixels")->capture_default_str();
  evaluate->add_option("--height", options->sampling.height, "Their height")->capture_default_str();
  evaluate->add_option("--frames", options->sampling.frames, "Frames of clips")->capture_default_str();
  evaluate->add_option("--steps", options->sampling.steps, "Sampler steps (Euler)")->capture_default_str();
  evaluate->add_option("--cfg-scale", options->sampling.guidance, "Classifier-free guidance scale")
      ->capture_default_str();
  evaluate->add_option("--flow-shift", options->sampling.flow_shift, "Timestep shift")->capture_default_str();
  options->device = add_train_device_option(*evaluate);
  evaluate->add_flag("--list", options->list, "Print each scene: its prompt | what was recognized");
  evaluate->callback([options] {
    keep_freed_memory();
    run_evaluation(*options);
  });
}

/// The command that trains what its --config file says, on its --device.
template <class OneTrainer, class Config>
void run_with(CLI::App& command, const std::shared_ptr<std::string>& file) {
  const auto device = add_train_device_option(command);
  command.callback([file, device] {
    keep_freed_memory();
    Config config = Config::read(*file);
    config.run.device = device->open();
    OneTrainer(config).train();
  });
}

}  // namespace

at::Device TrainDevice::open(int local_rank) const {
  return open_device(device_of_process(name, local_rank));
}

std::shared_ptr<TrainDevice> add_train_device_option(CLI::App& command) {
  auto device = std::make_shared<TrainDevice>();
  command.add_option("--device", device->name, find_job_option("device").help)->capture_default_str();
  return device;
}

void add_train_command(CLI::App& root) {
  CLI::App* train =
      root.add_subcommand("train", "Train on your own pictures and videos, or a small model from nothing");
  train->require_subcommand(1);

  auto config = std::make_shared<std::string>();
  CLI::App* vae =
      train->add_subcommand("vae", "Train the video autoencoder; continues from its checkpoint if there is one");
  vae->add_option("--config", *config, "JSON file; see training/configs/vae.json")->required();
  run_with<VaeTrainer, VaeTrainConfig>(*vae, config);

  CLI::App* denoiser = train->add_subcommand(
      "denoiser", "Train the denoiser and its text encoder; continues from its checkpoint if there is one");
  denoiser->add_option("--config", *config, "JSON file; see training/configs/denoiser.json")->required();
  run_with<DenoiserTrainer, DenoiserTrainConfig>(*denoiser, config);

  CLI::App* classifier = train->add_subcommand(
      "classifier",
      "Train an image classifier on a folder of pictures a class; continues from its checkpoint if there is one");
  classifier->add_option("--config", *config, "JSON file; see training/configs/classifier.json")->required();
  run_with<ClassifierTrainer, ClassifierTrainConfig>(*classifier, config);

  CLI::App* language = train->add_subcommand(
      "language", "Train a language model over bytes on texts; continues from its checkpoint if there is one");
  language->add_option("--config", *config, "JSON file; see training/configs/language.json")->required();
  run_with<LanguageTrainer, LanguageTrainConfig>(*language, config);

  auto model = std::make_shared<std::string>();
  CLI::App* preview = train->add_subcommand(
      "preview",
      "Fit the linear map from latents to colors that --preview paints with, for a model written by train "
      "denoiser, and store it in its vae/config.json");
  preview->add_option("--model", *model, "Model directory")->required();
  preview->callback([model] {
    const RgbFit fit = fit_model_rgb(*model);
    std::printf("latent_rgb_factors in %s: %.2f dB\n", (std::filesystem::path(*model) / "vae" / "config.json").c_str(),
                fit.psnr);
  });

  add_evaluate(*train);
  add_finetune_commands(*train);
}

}  // namespace tessera
