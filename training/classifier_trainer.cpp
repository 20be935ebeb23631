#include "training/classifier_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstdio>

#include "core/atomic_file.h"
#include "core/printable.h"
#include "core/transfer.h"
#include "models/vit/input.h"
#include "training/counter_rng.h"
#include "training/export.h"
#include "training/sheet.h"

namespace tessera {
namespace {

constexpr int64_t kScoredAtOnce = 128;

nlohmann::json with_classes(nlohmann::json model, size_t classes) {
  model["classes"] = classes;
  return model;
}

SplitPictures load_pictures(const ClassifierTrainConfig& config) {
  const int64_t side = JsonConfig(config.model, "model").integer("image");
  if (config.data == "scenes")
    return render_labeled_scenes(SceneRenderer(), side, config.scenes, config.held_out_scenes);
  return read_labeled_folder(config.data, side, config.held_out_every);
}

Augmentation read_augmentation(const JsonConfig& json) {
  json.reject_unknown({"degrees", "scale", "shift", "flip"});
  Augmentation out;
  out.degrees = json.number("degrees", out.degrees);
  out.scale = json.number("scale", out.scale);
  out.shift = json.number("shift", out.shift);
  out.flip = json.boolean("flip", out.flip);
  if (!(out.degrees >= 0 && out.degrees <= 180)) json.fail("degrees", "must be in [0, 180]");
  if (!(out.scale >= 0 && out.scale < 1)) json.fail("scale", "must be in [0, 1)");
  if (!(out.shift >= 0 && out.shift < 1)) json.fail("shift", "must be in [0, 1)");
  return out;
}

}  // namespace

ClassifierTrainConfig ClassifierTrainConfig::read(const std::filesystem::path& path) {
  const JsonConfig json = JsonConfig::read(path);
  std::vector<std::string> known = RunConfig::keys();
  for (const char* key : {"data", "output", "model", "batch", "held_out_every", "scenes", "held_out_scenes",
                          "augmentation", "label_smoothing"})
    known.emplace_back(key);
  json.reject_unknown(known);
  ClassifierTrainConfig config;
  config.run = RunConfig::from_json(json);
  config.data = json.text("data");
  config.output = json.text("output");
  config.model = json.object("model").json();
  if (config.model.contains("classes")) json.object("model").fail("classes", "must be absent: the data tells it");
  VitConfig::from_json(JsonConfig(with_classes(config.model, 2), json.where() + ": model"));
  config.batch = at_least(json, "batch", config.batch, 1);
  config.held_out_every = at_least(json, "held_out_every", config.held_out_every, 2);
  config.scenes = at_least(json, "scenes", config.scenes, 1);
  config.held_out_scenes = at_least(json, "held_out_scenes", config.held_out_scenes, 1);
  if (json.has("augmentation")) config.augmentation = read_augmentation(json.object("augmentation"));
  config.label_smoothing = json.number("label_smoothing", config.label_smoothing);
  if (!(config.label_smoothing >= 0 && config.label_smoothing < 1)) json.fail("label_smoothing", "must be in [0, 1)");
  return config;
}

ClassifierScore score_classes(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor right = (logits.argmax(-1) == labels).to(at::kDouble).mean();
  return {right.item<double>(), at::cross_entropy_loss(logits.to(at::kFloat), labels).item<double>()};
}

ClassifierTrainer::ClassifierTrainer(ClassifierTrainConfig config)
    : Trainer(config.run), config_(std::move(config)), data_(load_pictures(config_)) {
  const nlohmann::json model = with_classes(config_.model, data_.training.names.size());
  model_ = std::make_unique<Vit>(VitConfig::from_json(JsonConfig(model, "model")));
  model_->params(params_);
  initialize(params_, config_.run.seed, config_.run.device);
  start(params_, {});
}

at::Tensor ClassifierTrainer::logits(const at::Tensor& images) const {
  const at::Tensor there = uploaded(images, config_.run.device);
  return (*model_)(classifier_normalized(there).to(config_.run.dtype)).to(at::kFloat);
}

at::Tensor ClassifierTrainer::batch_rows() const {
  CounterRng rng(config_.run.seed * 31 + 11, static_cast<uint64_t>(run_.step()));
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < config_.batch; ++i) rows.push_back(rng.below(data_.training.size()));
  return at::tensor(rows, at::kLong);
}

double ClassifierTrainer::step() {
  const LabeledPictures batch = data_.training.rows(batch_rows());
  CounterRng rng(config_.run.seed * 31 + 12, static_cast<uint64_t>(run_.step()));
  const at::Tensor images = augmented(batch.pixels.to(at::kFloat), config_.augmentation, rng);
  const at::Tensor labels = uploaded(batch.labels, config_.run.device);
  const double loss = backward(config_.batch, config_.run.device, [&](int64_t first, int64_t count) {
                        return std::vector{at::cross_entropy_loss(logits(images.narrow(0, first, count)),
                                                                  labels.narrow(0, first, count), {},
                                                                  at::Reduction::Mean, -100, config_.label_smoothing)};
                      }).front();
  const double rate = config_.run.learning_rate * run_.rate_factor();
  const double norm = optimizer_->step(rate, rate);
  run_.record("classifier", config_.batch, {{"loss", loss}, {"norm", norm}});
  return loss;
}

ClassifierScore ClassifierTrainer::held_out_score() const {
  const c10::NoGradGuard no_gradients;
  std::vector<at::Tensor> all;
  for (const at::Tensor& images : data_.held_out.pixels.split(kScoredAtOnce))
    all.push_back(logits(images.to(at::kFloat)));
  return score_classes(at::cat(all).cpu(), data_.held_out.labels);
}

void ClassifierTrainer::draw_sheet() {
  CounterRng rng(config_.run.seed * 31 + 12, static_cast<uint64_t>(run_.step()));
  const at::Tensor pixels = data_.training.rows(batch_rows()).pixels.to(at::kFloat);
  const at::Tensor images = augmented(pixels, config_.augmentation, rng) / 127.5 - 1;
  std::vector<std::vector<at::Tensor>> rows;
  for (int64_t i = 0; i < images.size(0); ++i) {
    if (i % 8 == 0) rows.emplace_back();
    rows.back().push_back(images[i]);
  }
  write_sheet(run_.file("sheet.png"), rows);
}

void ClassifierTrainer::write_output() {
  const ClassifierScore score = held_out_score();
  export_component({"classifier", "diffusers", kTrainedClassifierClass, config_.output},
                   with_classes(config_.model, data_.training.names.size()), params_);
  std::string names;
  for (const std::string& name : data_.training.names) names += name + "\n";
  write_file_atomically(config_.output / "labels.txt", names);
  write_json(config_.output / "scores.json",
             {{"accuracy", score.accuracy}, {"loss", score.loss}, {"pictures", data_.held_out.size()}});
  std::fprintf(stderr, "wrote %s: %.2f%% of %lld held-out pictures correct, loss %.4f\n",
               printable_line(config_.output.string()).c_str(), 100 * score.accuracy,
               static_cast<long long>(data_.held_out.size()), score.loss);
}

}  // namespace tessera
