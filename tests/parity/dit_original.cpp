// facebookresearch/DiT from its checkpoint: the network, and every step of its samplers with the recorded noise. Of the
// reference's two halves the conditional one is compared; the other exists to make its batch.
#include "models/dit/dit.h"
#include "samplers/guidance.h"
#include "samplers/loop.h"
#include "samplers/registry.h"
#include "samplers/schedule.h"
#include "tests/support/dit.h"
#include "tests/support/fixture.h"
#include "tests/support/guided_model.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

constexpr double kForward = 2e-5, kSamples = 1e-4;

struct DitOriginal : testing::Test {
  test::Fixture fixture{"dit_original"};
  TensorFile tensors{original_dit_tensors(read_torch_archive(fixture.folder / "checkpoint.pt"))};
  Dit model{test::bound<Dit>(test::original_dit_config(fixture.config.at("model"), tensors), tensors)};

  SamplerConfig sampler_config(const nlohmann::json& run) const {
    SamplerConfig config;
    config.sampler = run.at("kind");
    config.prediction = Prediction::kEpsilon;
    const Respacing respacing = parse_respacing(run.at("respacing"));
    config.spacing = respacing.spacing;
    config.sections = respacing.sections;
    config.exact_tables = true;
    config.variance = model.config().learns_variance() ? Variance::kLearnedRange : Variance::kFixedLarge;
    config.clip_sample = run.value("clip_denoised", false);
    config.eta = run.value("eta", 0.0);
    return config;
  }

  GuidanceConfig guidance() const { return {.scale = fixture.config.at("cfg_scale"), .channels = 3}; }
};

TEST_F(DitOriginal, TheNetworkEqualsTheReference) {
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], fixture["y"]), fixture["out"], kForward);
}

TEST_F(DitOriginal, EverySampleOfEveryRunEqualsTheReference) {
  const int64_t batch = fixture["cfg_z"].size(0) / 2, channels = fixture["cfg_z"].size(1);
  const at::Tensor classes = fixture["cfg_y"], noise = fixture["cfg_z"].narrow(0, 0, batch);
  ASSERT_FALSE(fixture.config.at("runs").empty());
  for (const auto& run : fixture.config.at("runs")) {
    const std::string name = run.at("name");
    SCOPED_TRACE(name);
    const SamplerConfig config = sampler_config(run);
    const at::Tensor map = fixture[name + ".timestep_map"], want = fixture[name + ".samples"];
    const std::shared_ptr<Sampler> sampler = make_sampler(config, {.steps = map.size(0)});
    ASSERT_EQ(sampler->calls(), want.size(0));
    for (int64_t i = 0; i < map.size(0); ++i)
      EXPECT_EQ(sampler->schedule().timesteps[static_cast<size_t>(i)], map[map.size(0) - 1 - i].item<int64_t>());
    int64_t call = 0;
    sampler->set_noise([&](at::IntArrayRef) { return fixture[name + ".noise"][call].narrow(0, 0, batch); });
    const bool learned = config.sampler == "ddpm" && model.config().learns_variance();
    const auto network = [&](const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) {
      const at::Tensor out = model(x, t, y);
      return learned ? out : out.narrow(1, 0, channels);
    };
    const auto compare = [&](size_t, int64_t done, const at::Tensor& sample) {
      EXPECT_CLOSE(sample, want[done - 1].narrow(0, 0, batch), kSamples);
      call = done;
    };
    sample_one({.sampler = sampler,
                .noise = noise,
                .guidance = guidance(),
                .positive = classes.narrow(0, 0, batch),
                .negative = classes.narrow(0, batch, batch)},
               network, {.on_step = compare});
    EXPECT_EQ(call, want.size(0));
  }
}

TEST_F(DitOriginal, GuidanceChangesTheFirstThreeChannelsAlone) {
  if (!fixture.has("cfg_model_out_first")) return;
  const at::Tensor want = fixture["cfg_model_out_first"];
  const int64_t batch = want.size(0) / 2;
  const at::Tensor map = fixture[fixture.config.at("runs")[0].at("name").get<std::string>() + ".timestep_map"];
  const at::Tensor classes = fixture["cfg_y"];
  test::GuidedModel guided(
      guidance(), [&](const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) { return model(x, t, y); },
      classes.narrow(0, 0, batch), classes.narrow(0, batch, batch));
  const at::Tensor out = guided(fixture["cfg_z"].narrow(0, 0, batch), map[-1].item<double>(), 0, 1);
  EXPECT_CLOSE(out, want.narrow(0, 0, batch), kForward);
}

}  // namespace
}  // namespace tessera
