#include "training/linearize.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "core/printable.h"
#include "core/text.h"
#include "training/export.h"
#include "training/finetune.h"
#include "training/loss_plot.h"
#include "training/wan_data_encoder.h"

namespace tessera {
namespace {

int64_t blocks_along(int64_t length) {
  if (length == 1) return 1;
  const double target = static_cast<double>(length) / 6;
  int64_t best = length;
  for (int64_t divisor = length; divisor >= 2; --divisor)
    if (length % divisor == 0 &&
        std::abs(static_cast<double>(divisor) - target) <= std::abs(static_cast<double>(best) - target))
      best = divisor;
  return best;
}

/// A softmax layer in its place in the network, and the layer that learns from it. What it puts out is the softmax
/// layer's; the other's error goes into `loss`, and back from there at once, so that one layer is in memory at a time.
class TeachingAttention : public SelfAttention {
 public:
  TeachingAttention(std::unique_ptr<SelfAttention> teacher, std::unique_ptr<SelfAttention> student, double part,
                    at::Tensor& loss)
      : teacher_(std::move(teacher)), student_(std::move(student)), part_(part), loss_(loss) {}

  void params(ParamList& out, const std::string& prefix) override { teacher_->params(out, prefix); }

  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override {
    at::Tensor wanted;
    {
      const c10::NoGradGuard no_gradients;
      wanted = (*teacher_)(x, input);
    }
    const c10::AutoGradMode gradients(true);
    const at::Tensor target = wanted.to(at::kFloat);
    const at::Tensor error = ((*student_)(x.detach(), input).to(at::kFloat) - target).square().mean() /
                             target.square().mean().clamp_min(1e-12) * part_;
    error.backward();
    const c10::NoGradGuard no_gradients;
    loss_ += error.detach();
    return wanted;
  }

 private:
  std::unique_ptr<SelfAttention> teacher_, student_;
  double part_;
  at::Tensor& loss_;
};

JsonConfig section(const JsonConfig& json, const char* key, const nlohmann::json& shared) {
  nlohmann::json merged = shared;
  merged.update(json.object(key).json());
  return {merged, json.where() + ": " + key};
}

/// The grid of most of the clips' tokens.
Extent3 common_grid(const std::vector<CachedClip>& clips, const Extent3& patch) {
  std::map<Extent3, int64_t> counts;
  for (const CachedClip& clip : clips)
    ++counts[{clip.shape[1] / patch[0], clip.shape[2] / patch[1], clip.shape[3] / patch[2]}];
  std::pair<int64_t, Extent3> best{0, {1, 1, 1}};
  for (const auto& [grid, count] : counts) best = std::max(best, {count, grid});
  return best.second;
}

}  // namespace

LinearizeConfig LinearizeConfig::read(const std::filesystem::path& path) {
  const JsonConfig json = JsonConfig::read(path);
  json.reject_unknown({"model", "cache", "run", "output", "seed", "dtype", "attention", "stage1", "stage2"});
  const std::filesystem::path run = json.text("run");
  nlohmann::json shared = {{"model", json.text("model")}, {"cache", json.text("cache")}};
  for (const char* key : {"seed", "dtype"})
    if (json.has(key)) shared[key] = json.json().at(key);
  nlohmann::json first = shared, second = shared;
  first["run"] = (run / "stage1").string();
  first["output"] = (run / "stage1" / "transformer").string();
  first["learning_rate"] = 1e-3;
  second["run"] = (run / "stage2").string();
  second["output"] = json.text("output");
  second["transformer"] = first["output"];
  // The published recipe: MHLA, arXiv:2601.07832, and the YAML of its video model.
  second.update(
      {{"learning_rate", 2e-5}, {"eps", 1e-10}, {"clip_norm", 0.1}, {"caption_dropout", 0.1}, {"shift", 3.0}});
  const JsonConfig stage1 = json.object("stage1");
  for (const char* key : {"muon_rate", "ema_decay", "validation", "validate_every", "samples", "recompute"})
    if (stage1.has(key)) stage1.fail(key, "is for stage2: stage1 compares layers by themselves, with AdamW");
  LinearizeConfig config;
  config.attention = json.object("attention").json();
  config.distill = FinetuneConfig::from_json(section(json, "stage1", first), TuneMethod::kFull);
  config.tune = FinetuneConfig::from_json(section(json, "stage2", second), TuneMethod::kFull);
  return config;
}

Extent3 derived_layout(const Extent3& grid) {
  return {blocks_along(grid[0]), blocks_along(grid[1]), blocks_along(grid[2])};
}

nlohmann::json linearized_config(const nlohmann::json& teacher, nlohmann::json attention, const Extent3& grid,
                                 const std::string& where) {
  const auto old = WanTransformerConfig::from_json({teacher, where});
  if (old.attention.kind != AttentionKind::kSoftmax)
    throw Error(where + ": its self-attention is " + name_of(old.attention.kind) + " already; want a softmax model");
  if (attention.value("kind", "") == "mhla") {
    // What MHLA's released video model has, unless the config says otherwise.
    const nlohmann::json defaults = {{"block_layout", derived_layout(grid)}, {"gated", true}, {"normalizer", "none"}};
    for (const auto& [key, value] : defaults.items())
      if (!attention.contains(key)) attention[key] = value;
  }
  nlohmann::json student = teacher;
  student["attention"] = attention;
  if (WanTransformerConfig::from_json({student, where}).attention.kind == AttentionKind::kSoftmax)
    throw Error(where + ": attention: kind must be mhla, linear or focused");
  return student;
}

DistillTrainer::DistillTrainer(FinetuneConfig config, const nlohmann::json& attention)
    : Trainer(config.run),
      config_(std::move(config)),
      model_(open_wan_model(config_.model)),
      data_(DataCache::open(config_.cache), {.batch = config_.batch,
                                             .seed = config_.run.seed,
                                             .caption_dropout = config_.caption_dropout,
                                             .times = config_.times}),
      student_json_(linearized_config(model_.folder.component("transformer").config().json(), attention,
                                      common_grid(data_.training(), model_.transformer.patch_size),
                                      model_.folder.path.string())),
      student_(WanTransformerConfig::from_json({student_json_, config_.model.string()})),
      transformer_(model_.transformer) {
  require_trainable(model_);
  encoded_by(model_).check(data_.cache(), config_.model.string());
  require_pipeline_directory(model_.folder);
  transformer_.params(frozen_);
  const Component part = model_.folder.component("transformer");
  bind(frozen_, read_component(part), config_.run.dtype, config_.run.device);
  refuse_quantized(frozen_, part.folder.string());
  replace_layers();
  OptimizerConfig options;
  options.beta1 = config_.beta1;
  options.beta2 = config_.beta2;
  options.eps = config_.eps;
  options.weight_decay = config_.weight_decay;
  options.clip_norm = config_.clip_norm;
  start(trained_, options);
}

void DistillTrainer::replace_layers() {
  loss_ = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(config_.run.device));
  for (int64_t layer = 0; layer < student_.num_layers; ++layer)
    taught_ += student_.attention.kind_of_layer(layer) != AttentionKind::kSoftmax;
  std::vector<std::unique_ptr<SelfAttention>> students;
  for (int64_t layer = 0; layer < student_.num_layers; ++layer) {
    const AttentionKind kind = student_.attention.kind_of_layer(layer);
    students.push_back(kind == AttentionKind::kSoftmax
                           ? nullptr
                           : make_self_attention(kind, student_.attention, student_.num_attention_heads,
                                                 student_.attention_head_dim, student_.eps));
    if (students.back()) students.back()->params(trained_, "blocks." + std::to_string(layer) + ".attn1.");
  }
  initialize(trained_, config_.run.seed, config_.run.device);
  std::map<std::string, const Param*> teacher;
  for (const Param& param : frozen_) teacher[param.name] = &param;
  for (const Param& param : trained_)
    if (const auto found = teacher.find(param.name); found != teacher.end() && found->second->shape == param.shape)
      *param.slot = found->second->slot->to(at::kFloat).clone();
  for (size_t layer = 0; layer < students.size(); ++layer) {
    if (!students[layer]) continue;
    std::unique_ptr<SelfAttention>& slot = transformer_.blocks()[layer].attn1;
    slot = std::make_unique<TeachingAttention>(std::move(slot), std::move(students[layer]),
                                               1.0 / static_cast<double>(taught_ * config_.accumulate), loss_);
  }
}

double DistillTrainer::step() {
  const int64_t first = run_.step() * config_.accumulate;
  optimizer_->zero_gradients();
  loss_.zero_();
  int64_t clips = 0;
  {
    const c10::NoGradGuard no_gradients;  // the layers turn gradients on for themselves
    for (int64_t i = 0; i < config_.accumulate; ++i) {
      flow_loss(transformer_, data_.batch(first + i).on(config_.run.device), config_.run.dtype);
      clips += data_.batch_size(first + i);
    }
  }
  const auto value = loss_.item<double>();
  const double factor = run_.rate_factor();
  const double norm = optimizer_->step(config_.run.learning_rate * factor, 0);
  if (!std::isfinite(value) || !std::isfinite(norm))
    throw Error("step " + std::to_string(run_.step()) + ": the layers' error is not finite; the last checkpoint is " +
                    run_.checkpoint().string() + "; go on from it with a lower learning_rate",
                ExitCode::kFailed);
  run_.record("stage 1", clips, {{"loss", value}, {"norm", norm}});
  return value;
}

void DistillTrainer::draw_sheet() {
  write_loss_plot(run_.file("log.jsonl"), run_.file("curve.html"));
}

void DistillTrainer::write_output() {
  const c10::NoGradGuard no_gradients;
  const TensorFile before = read_component(model_.folder.component("transformer"));
  std::map<std::string, at::Tensor> tensors;
  for (const Param& param : trained_) tensors[param.name] = param.slot->detach();
  WanTransformer student(student_);
  ParamList wanted;
  student.params(wanted);
  for (const Param& param : wanted)
    if (!tensors.count(param.name)) tensors[param.name] = before.at(param.name);
  const Component part{"transformer", "diffusers", "WanTransformer3DModel", config_.output};
  make_folder(part.folder);
  write_component(part, student_json_, tensors, {{"format", "pt"}}, at::kFloat);
  std::fprintf(stderr, "%s of %lld attend linearly now: wrote %s\n", counted(taught_, "layer").c_str(),
               static_cast<long long>(student_.num_layers), printable_line(config_.output.string()).c_str());
}

void linearize(const LinearizeConfig& config) {
  if (!std::filesystem::exists(config.distill.output / "config.json"))
    DistillTrainer(config.distill, config.attention).train();
  FinetuneTrainer(config.tune).train();
}

}  // namespace tessera
