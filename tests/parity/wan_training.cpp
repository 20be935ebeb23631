// torch's AdamW on diffusers' WanTransformer3DModel, in full and with a LoRA of PEFT: losses, gradients, ten steps.
#include "tests/support/files.h"
#include "tests/support/fixture.h"
#include "training/flow_loss.h"
#include "training/lora_layers.h"
#include "training/optimizer.h"
#include "weights/lora_file.h"

namespace tessera {
namespace {

struct WanTrainingParity : testing::TestWithParam<bool> {
  test::Fixture fixture{"wan_training"}, base{"wan_lora"};
  WanTransformerConfig config = WanTransformerConfig::from_json({base.config.at("model"), "model"});
  WanTransformer model{config};
  ParamList params;
  int64_t steps = fixture.config.at("steps");

  void SetUp() override {
    model.params(params);
    bind(params, base.weights(), at::kFloat, at::kCPU);
    model.set_recompute(GetParam());
  }

  FlowBatch batch(int64_t step) const {
    const auto part = [&](const char* name) { return fixture[std::to_string(step) + "." + name]; };
    return {part("latents"), part("noise"), part("times"), part("context")};
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

  LoraSettings lora_settings() const {
    LoraSettings settings;
    settings.rank = fixture.config.at("rank");
    settings.alpha = fixture.config.at("alpha");
    settings.targets = fixture.config.at("targets").get<std::vector<std::string>>();
    return settings;
  }

  /// Trains `trained` and compares with what the reference recorded.
  void expect_as_recorded(const ParamList& trained, const TensorFile& reference) {
    Optimizer optimizer(trained, optimizer_config());
    std::map<std::string, at::Tensor> before;
    for (const Param& param : trained) before[param.name] = param.slot->detach().clone();
    const double rate = fixture.config.at("learning_rate");
    for (int64_t step = 0; step < steps; ++step) {
      SCOPED_TRACE(step);
      optimizer.zero_gradients();
      const at::Tensor loss = flow_loss(model, batch(step), at::kFloat);
      loss.backward();
      const auto wanted = reference.at("losses")[step].item<double>();
      EXPECT_NEAR(loss.item<double>(), wanted, 1e-5 * wanted);
      for (const Param& param : trained)
        if (step == 0) expect_gradient(*param.slot, reference.at("gradient/" + param.name), param.name);
      const double norm = optimizer.step(rate, rate);
      const auto wanted_norm = reference.at("norms")[step].item<double>();
      EXPECT_NEAR(norm, wanted_norm, 1e-5 * wanted_norm);
    }
    for (const Param& param : trained) {
      SCOPED_TRACE(param.name);
      const at::Tensor found = param.slot->detach(), wanted = reference.at("trained/" + param.name);
      // Of what begins at zero all is the sum of Adam's steps, which are as long where the gradient is near nothing:
      // ATEN_CPU_CAPABILITY=default alone moves it by 1.2e-5.
      const bool from_zero = !before[param.name].any().item<bool>();
      EXPECT_CLOSE(found, wanted, from_zero ? 1e-4 : 1e-5);
      EXPECT_CLOSE(found - before[param.name], wanted - before[param.name], 1e-3);  // steps of 1e-4 in float32
    }
  }

  /// 1e-5 of the tensor's largest gradient: torch with another number of threads differs from itself by 3e-6.
  static void expect_gradient(const at::Tensor& weight, const at::Tensor& wanted, const std::string& name) {
    ASSERT_TRUE(weight.grad().defined()) << name;
    const auto difference = (weight.grad() - wanted).abs().max().item<double>();
    EXPECT_LE(difference, 1e-5 * wanted.abs().max().item<double>()) << name;
  }
};

TEST_P(WanTrainingParity, Full) {
  expect_as_recorded(params, read_safetensors(fixture.folder / "full.safetensors"));
}

TEST_P(WanTrainingParity, Lora) {
  const TensorFile reference = read_safetensors(fixture.folder / "lora.safetensors");
  const ParamList lora = add_lora(params, lora_settings());
  bind(lora, test::part_of(reference, "start/"), at::kFloat, at::kCPU);
  expect_as_recorded(lora, reference);
  for (const Param& param : params) EXPECT_FALSE(param.slot->requires_grad()) << param.name;

  // The file that is written holds what diffusers' own has, under the same names and with the same settings.
  const test::TemporaryFolder folder;
  write_lora(folder / "lora.safetensors", lora, lora_settings(), at::kFloat);
  const LoraFile ours = read_lora_file(folder / "lora.safetensors");
  const LoraFile theirs = read_lora_file(fixture.folder / "pytorch_lora_weights.safetensors");
  ASSERT_EQ(ours.layers.size(), theirs.layers.size());
  for (const auto& [name, layer] : theirs.layers) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(ours.layers.count(name));
    EXPECT_EQ(ours.layers.at(name).scale, layer.scale);
    EXPECT_CLOSE(ours.layers.at(name).down, layer.down, 1e-5);
    EXPECT_CLOSE(ours.layers.at(name).up, layer.up, 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(ActivationsKeptAndRecomputed, WanTrainingParity, testing::Bool());

}  // namespace
}  // namespace tessera
