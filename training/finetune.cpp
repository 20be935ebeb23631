#include "training/finetune.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "core/atomic_file.h"
#include "core/printable.h"
#include "core/text.h"
#include "core/transfer.h"
#include "kernels/packed.h"
#include "training/export.h"
#include "training/loss_plot.h"
#include "training/sheet.h"
#include "weights/bind.h"

namespace tessera {
namespace {

TrainingSetOptions set_options(const FinetuneConfig& config, const FlowTimes& times) {
  return {.batch = config.batch,
          .seed = config.run.seed,
          .caption_dropout = config.caption_dropout,
          .times = times,
          .validation = config.validation};
}

OptimizerConfig optimizer_options(const FinetuneConfig& config) {
  OptimizerConfig options;
  options.beta1 = config.beta1;
  options.beta2 = config.beta2;
  options.eps = config.eps;
  options.weight_decay = config.weight_decay;
  options.clip_norm = config.clip_norm;
  options.ema_decay = config.ema_decay;
  if (config.muon_rate > 0) options.muon = {"blocks."};
  return options;
}

}  // namespace

void require_pipeline_directory(const ModelDir& model) {
  std::error_code ignored;
  if (!std::filesystem::exists(model.path / "model_index.json", ignored))
    throw Error(model.path.string() +
                ": full training wants a model directory in diffusers' layout: make one with `tessera convert " +
                model.path.string() + " FOLDER`");
}

void copy_other_parts(const ModelDir& model, const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  make_folder(output);
  std::error_code problem;
  for (const Component& part : model.components) {
    if (part.name == "transformer") continue;
    fs::copy(part.folder, output / part.name, fs::copy_options::recursive | fs::copy_options::overwrite_existing,
             problem);
    if (problem)
      throw Error(part.folder.string() + ": cannot be copied to " + output.string() + ": " + problem.message(),
                  ExitCode::kFailed);
  }
  write_json(output / "model_index.json", model.index.json());
}

void refuse_quantized(const ParamList& params, const std::string& where) {
  for (const Param& param : params)
    if (packed_weight(*param.slot))
      throw Error(where + ": " + param.name + " is quantized; only fp32, bf16 and fp16 weights can be trained on");
}

FinetuneTrainer::FinetuneTrainer(FinetuneConfig config, std::unique_ptr<RankGroup> ranks)
    : Trainer(config.run),
      config_(std::move(config)),
      ranks_(std::move(ranks)),
      model_(open_tuned_model(config_)),
      data_(DataCache::open(config_.cache), set_options(config_, model_->times())) {
  if (ranks_ && config_.accumulate < ranks_->size())
    throw Error("accumulate is " + std::to_string(config_.accumulate) + ", fewer batches than the " +
                std::to_string(ranks_->size()) + " ranks that share them; set it to a multiple of the ranks");
  if (ranks_ && config_.run.steps == 0) throw Error("minutes differ from rank to rank; give steps instead");
  if (!leads()) run_.be_silent();
  model_->encoded_by().check(data_.cache(), model_->folder().path.string());
  if (config_.method == TuneMethod::kFull)
    require_pipeline_directory(model_->folder());
  else
    check_writable(config_.output);
  load_transformer_weights();
  model_->set_recompute(config_.recompute);
  std::fprintf(stderr, "%s in batches of %lld, %s held out\n",
               counted(static_cast<int64_t>(data_.training().size()), "clip").c_str(),
               static_cast<long long>(config_.batch),
               counted(static_cast<int64_t>(data_.validation().size()), "clip").c_str());
  start(trained_, optimizer_options(config_));
}

void FinetuneTrainer::load_transformer_weights() {
  const bool full = config_.method == TuneMethod::kFull;
  model_->params(all_);
  bind(all_, model_->weights(), full ? at::kFloat : config_.run.dtype, config_.run.device);
  refuse_quantized(all_, model_->part().folder.string());
  if (full) {
    for (const Param& param : all_)
      if (model_->trains(param.name)) trained_.add(param.name, *param.slot, param.shape, param.init);
  } else {
    trained_ = add_lora(all_, config_.lora);
    initialize(trained_, config_.run.seed, config_.run.device);
  }
}

double FinetuneTrainer::step() {
  const int64_t first = run_.step() * config_.accumulate;
  std::map<std::string, double> measures;
  if (leads() && !data_.validation().empty() && run_.step() % config_.validate_every == 0) {
    measures["validation"] = validation_loss();
    write_loss_plot(run_.file("log.jsonl"), run_.file("curve.html"));
  }
  int64_t clips = 0;
  for (int64_t i = 0; i < config_.accumulate; ++i) clips += data_.batch_size(first + i);
  optimizer_->zero_gradients();
  double value = 0;
  for (int64_t i = 0; i < config_.accumulate; ++i) {
    if (ranks_ && i % ranks_->size() != ranks_->rank()) continue;
    const double part = static_cast<double>(data_.batch_size(first + i)) / static_cast<double>(clips);
    const at::Tensor loss = model_->loss(data_.batch(first + i).on(config_.run.device), config_.run.dtype) * part;
    loss.backward();
    value += loss.item<double>();
  }
  if (ranks_) value = sum_over_ranks(value);
  const double factor = run_.rate_factor();
  const double norm = optimizer_->step(config_.run.learning_rate * factor, config_.muon_rate * factor);
  if (!std::isfinite(value) || !std::isfinite(norm))
    throw Error("step " + std::to_string(run_.step()) +
                    ": the loss or its gradient is not finite; the last checkpoint is " + run_.checkpoint().string() +
                    "; go on from it with a lower learning_rate or clip_norm",
                ExitCode::kFailed);
  measures["loss"] = value;
  measures["norm"] = norm;
  run_.record(config_.method == TuneMethod::kLora ? "lora" : "full", clips, measures);
  return value;
}

double FinetuneTrainer::sum_over_ranks(double loss) {
  const at::Tensor sum = at::full({1}, loss, at::kFloat);
  const std::vector<at::Tensor> gradients = optimizer_->gradients();
  std::vector<at::Tensor> values;
  for (const at::Tensor& gradient : gradients) values.push_back(gradient.cpu());
  values.push_back(sum);
  ranks_->sum(values);
  for (size_t i = 0; i < gradients.size(); ++i)
    if (!gradients[i].is_cpu()) gradients[i].copy_(values[i]);
  return sum.item<double>();
}

double FinetuneTrainer::validation_loss() const {
  const c10::NoGradGuard no_gradients;
  const auto clips = static_cast<int64_t>(data_.validation().size());
  TORCH_CHECK(clips > 0, "validation_loss: nothing is held out");
  double sum = 0;
  for (int64_t i = 0; i < clips; ++i)
    for (int64_t k = 0; k < TrainingSet::kValidationTimes; ++k)
      sum += model_->loss(data_.validation_batch(i, k).on(config_.run.device), config_.run.dtype).item<double>();
  return sum / static_cast<double>(clips * TrainingSet::kValidationTimes);
}

void FinetuneTrainer::draw_sheet() {
  write_loss_plot(run_.file("log.jsonl"), run_.file("curve.html"));
  if (config_.samples == 0) return;
  const c10::NoGradGuard no_gradients;
  const DataCache& cache = data_.cache();
  const std::vector<CachedClip>& clips = data_.validation().empty() ? data_.training() : data_.validation();
  const SheetSampling sampling{config_.sample_steps, config_.sample_guidance, config_.times.shift, config_.run.dtype};
  std::vector<at::Tensor> texts;
  std::string captions;
  for (const CachedClip& clip : clips) {
    if (static_cast<int64_t>(texts.size()) == config_.samples) break;
    if (clip.shape != clips.front().shape) continue;  // a sheet has pictures of one size
    texts.push_back(uploaded(cache.text(clip.text), config_.run.device));
    captions += clip.caption + "\n";
  }
  const AveragedWeights averaged(*optimizer_);
  const at::Tensor empty = uploaded(cache.text(cache.empty_text), config_.run.device);
  std::vector<std::vector<at::Tensor>> rows;
  for (const at::Tensor& frames : model_->draw(clips.front().shape, texts, empty, sampling)) {
    rows.emplace_back();
    for (const int64_t frame : std::set<int64_t>{0, frames.size(1) / 2, frames.size(1) - 1})
      rows.back().push_back(frames.select(1, frame));
  }
  write_sheet(run_.file("sheet.png"), rows);
  write_file_atomically(run_.file("sheet.txt"), captions);
}

void FinetuneTrainer::write_output() {
  const c10::NoGradGuard no_gradients;
  const AveragedWeights averaged(*optimizer_);
  if (config_.method == TuneMethod::kLora)
    write_lora(config_.output, trained_, config_.lora, at::kFloat);
  else
    write_model();
  std::fprintf(stderr, "wrote %s\n", printable_line(config_.output.string()).c_str());
}

void FinetuneTrainer::write_model() {
  copy_other_parts(model_->folder(), config_.output);
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : all_) tensors[param.name] = param.slot->detach();
  const Component part{"transformer", "diffusers", model_->part().class_name, config_.output / "transformer"};
  make_folder(part.folder);
  write_component(part, model_->part().config().json(), tensors, {{"format", "pt"}}, config_.run.dtype);
}

}  // namespace tessera
