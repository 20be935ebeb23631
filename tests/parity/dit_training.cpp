// torch's AdamW on diffusers' DiTTransformer2DModel, loss of facebookresearch/DiT: losses, gradients, ten steps.
#include <c10/core/GradMode.h>

#include "models/dit/dit.h"
#include "tests/support/fixture.h"
#include "training/diffusion_loss.h"
#include "training/optimizer.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

struct DitTrainingParity : testing::TestWithParam<bool> {
  test::Fixture fixture{"dit_training"};
  TensorFile reference = read_safetensors(fixture.folder / "full.safetensors");
  Component part = open_component(test::fixture_folder() / "dit_pipeline/pipeline/transformer");
  Dit model{DitConfig::from_json(part.config())};
  DiffusionLoss loss{diffusion()};
  ParamList params;

  static SamplerConfig diffusion() {
    SamplerConfig config;
    config.prediction = Prediction::kEpsilon;
    config.exact_tables = true;
    return config;
  }

  void SetUp() override {
    model.params(params);
    std::map<std::string, at::Tensor> tensors = read_weights(part).tensors();
    const TensorFile start = test::part_of(reference, "start/");
    for (const auto& [name, tensor] : start.tensors()) tensors[name] = tensor;
    bind(params, {std::move(tensors), "dit_training"}, at::kFloat, at::kCPU);
    model.set_recompute(GetParam());
  }

  const at::Tensor& input(int64_t step, const char* name) const { return fixture[std::to_string(step) + "." + name]; }

  at::Tensor output(int64_t step) const {
    const at::Tensor noisy = loss.noisy(input(step, "latents"), input(step, "noise"), input(step, "timesteps"));
    return model(noisy, input(step, "timesteps").to(at::kFloat), input(step, "classes"));
  }

  OptimizerConfig optimizer_config() const {
    OptimizerConfig options;
    options.beta1 = fixture.config.at("beta1");
    options.beta2 = fixture.config.at("beta2");
    options.eps = fixture.config.at("eps");
    options.weight_decay = fixture.config.at("weight_decay");
    options.clip_norm = fixture.config.at("clip");
    return options;
  }
};

TEST_P(DitTrainingParity, EachTermOfTheLoss) {
  const c10::NoGradGuard no_gradients;
  const at::Tensor out = output(0);
  for (int64_t row = 0; row < out.size(0); ++row) {
    SCOPED_TRACE(row);  // timesteps 0, 1, 400, 999
    const auto one = [&](const char* name) { return input(0, name).narrow(0, row, 1); };
    const auto value = [&](const at::Tensor& output_row) {
      return loss(output_row, one("latents"), one("noise"), one("timesteps")).item<double>();
    };
    const auto mse = reference.at("terms/mse")[row].item<double>();
    const double bound = reference.at("terms/vb")[row].item<double>();
    EXPECT_NEAR(value(out.narrow(0, row, 1).narrow(1, 0, 4)), mse, 1e-5 * mse);
    EXPECT_NEAR(value(out.narrow(0, row, 1)), mse + bound, 1e-5 * (mse + bound));
  }
}

TEST_P(DitTrainingParity, TenSteps) {
  Optimizer optimizer(params, optimizer_config());
  const double rate = fixture.config.at("learning_rate");
  std::map<std::string, const at::Tensor*> slots;
  for (const Param& param : params) slots[param.name] = param.slot;
  const TensorFile gradients = test::part_of(reference, "gradient/"), trained = test::part_of(reference, "trained/");
  for (int64_t step = 0; step < fixture.config.at("steps").get<int64_t>(); ++step) {
    SCOPED_TRACE(step);
    optimizer.zero_gradients();
    const at::Tensor value = loss(output(step), input(step, "latents"), input(step, "noise"), input(step, "timesteps"));
    value.backward();
    const auto wanted = reference.at("losses")[step].item<double>();
    EXPECT_NEAR(value.item<double>(), wanted, 1e-5 * wanted);
    if (step == 0)
      for (const auto& [name, gradient] : gradients.tensors()) {
        // Softmax does not see a bias of the keys: what there is of its gradient is rounding.
        const bool unseen = name.ends_with(".to_k.bias");
        const std::string size_of = unseen ? name.substr(0, name.size() - 6) + "q.bias" : name;
        const auto difference = (slots.at(name)->grad() - gradient).abs().max().item<double>();
        EXPECT_LE(difference, 1e-5 * gradients.at(size_of).abs().max().item<double>()) << name;
      }
    const auto norm = reference.at("norms")[step].item<double>();
    EXPECT_NEAR(optimizer.step(rate, rate), norm, 1e-5 * norm);
  }
  for (const auto& [name, wanted] : trained.tensors()) {
    SCOPED_TRACE(name);
    EXPECT_CLOSE(slots.at(name)->detach(), wanted, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(ActivationsKeptAndRecomputed, DitTrainingParity, testing::Bool());

}  // namespace
}  // namespace tessera
