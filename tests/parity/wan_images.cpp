// diffusers' image-to-video pipelines and Wan 2.2 with tiny weights: networks, pictures as the models see them, latents
// after every step across the change of experts, frames.
#include "tests/support/wan_images.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "media/picture.h"
#include "media/resample.h"
#include "models/clip/clip_vision.h"
#include "pipelines/families/wan/image_condition.h"
#include "pipelines/families/wan/network.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/families/wan/text_to_video.h"
#include "samplers/loop.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

const test::Fixture& fixture() {
  static const test::Fixture all("wan_images");
  return all;
}

/// The model `name` of the fixture in a folder of its own.
struct OpenedModel {
  test::TemporaryFolder folder;
  WanModel model;

  explicit OpenedModel(const std::string& name) : model(open(folder, name)) {}

 private:
  static WanModel open(const test::TemporaryFolder& folder, const std::string& name) {
    test::write_image_model(folder.path(), name);
    return open_wan_model(folder.path());
  }
};

TEST(WanImages, ThePicturesBytesArePillows) {
  const at::Tensor picture = fixture()["picture"];
  EXPECT_TRUE(read_picture(fixture().folder / "first.png").equal(picture));
  for (const auto& [width, height] : {std::pair(48, 32), std::pair(20, 64), std::pair(97, 11)}) {
    const std::string size = std::to_string(width) + "x" + std::to_string(height);
    SCOPED_TRACE(size);
    EXPECT_TRUE(
        resample(picture, width, height, ResampleFilter::kBicubic).equal(fixture()["resample.bicubic." + size]));
    EXPECT_TRUE(
        resample(picture, width, height, ResampleFilter::kLanczos).equal(fixture()["resample.lanczos." + size]));
  }
}

TEST(WanImages, CroppedPicturesAreThoseOfDiffusers) {
  for (const auto& [width, height] : {std::pair(48, 32), std::pair(32, 48)}) {
    Job job;
    job.width = width;
    job.height = height;
    job.resize_mode = "crop";
    const std::string name = "crop." + std::to_string(width) + "x" + std::to_string(height);
    EXPECT_CLOSE(frame_of_picture(fixture()["picture"], job), fixture()[name], 1e-6);
  }
}

TEST(WanImages, TheImageEncoderGivesTheStatesBeforeItsLastBlock) {
  const OpenedModel opened("i2v");
  const auto encoder = load_image_encoder(opened.model, "fp32", at::kCPU);
  EXPECT_CLOSE(encoder.part(fixture()["clip.pixels"]), fixture()["clip.states"], 2e-5);
  const at::Tensor pixels =
      at::cat({clip_pixels(fixture()["picture"], 28), clip_pixels(fixture()["last_picture"], 28)});
  EXPECT_CLOSE(pixels, fixture()["clip.pixels"], 1e-6);
}

TEST(WanImages, TransformersTakeImageStates) {
  const at::Tensor states = fixture()["clip.states"];  // [2, S, C]
  for (const std::string name : {"i2v", "flf2v"}) {
    SCOPED_TRACE(name);
    const OpenedModel opened(name);
    const auto transformer = load_transformer(opened.model, "fp32", at::kCPU);
    const at::Tensor image = name == "i2v" ? states.slice(0, 0, 1) : states.reshape({1, -1, states.size(2)});
    const at::Tensor out =
        transformer.part(fixture()[name + ".x"], at::tensor({417.0F}), fixture()["prompt"], nullptr, nullptr, image);
    EXPECT_CLOSE(out, fixture()[name + ".out"], 2e-5);
    EXPECT_THROW(transformer.part(fixture()[name + ".x"], at::tensor({417.0F}), fixture()["prompt"]), c10::Error);
  }
}

TEST(WanImages, AFrameMayHaveATimeOfItsOwn) {
  const OpenedModel opened("ti2v");
  const auto transformer = load_transformer(opened.model, "fp32", at::kCPU);
  EXPECT_CLOSE(transformer.part(fixture()["ti2v.x"], fixture()["ti2v.times"], fixture()["prompt"]),
               fixture()["ti2v.out"], 2e-5);
  const at::Tensor one = at::tensor({611.0F});
  EXPECT_CLOSE(transformer.part(fixture()["ti2v.x"], one.expand({1, 3}), fixture()["prompt"]),
               transformer.part(fixture()["ti2v.x"], one, fixture()["prompt"]), 1e-6);
}

TEST(WanImages, TheResidualAutoencoder) {
  const OpenedModel opened("ti2v");
  const auto vae = load_vae(opened.model, "fp32", at::kCPU);
  for (const bool chunks : {false, true}) {
    SCOPED_TRACE(chunks);
    const at::Tensor frames = fixture()["vae.frames"];
    const WanMoments moments = chunks ? vae.part.encode_chunks(frames) : vae.part.encode(frames);
    EXPECT_CLOSE(moments.mean, fixture()["vae.mean"], 2e-5);
    EXPECT_CLOSE(moments.logvar, fixture()["vae.logvar"], 2e-5);
  }
  std::vector<at::Tensor> parts;
  vae.part.decode_chunks(fixture()["vae.mean"], [&](const at::Tensor& frames) { parts.push_back(frames); });
  EXPECT_CLOSE(at::cat(parts, 2), fixture()["vae.decoded"], 2e-5);
  EXPECT_CLOSE(vae.part.decode(fixture()["vae.mean"]), fixture()["vae.decoded"], 2e-5);
}

Job job_of(const nlohmann::json& run) {
  Job job;
  job.prompt = "any";
  job.width = run.at("w");
  job.height = run.at("h");
  job.frames = run.at("frames");
  job.steps = run.at("steps");
  job.cfg_scale = run.at("g");
  if (run.contains("g2")) job.cfg_scale_2 = run.at("g2");
  if (run.at("image")) job.image.path = (fixture().folder / "first.png").string();
  if (run.at("last")) job.last_image.path = (fixture().folder / "last.png").string();
  job.seed = 0;
  return job;
}

/// What the denoiser is told of the job's pictures; it equals the reference's.
ImageCondition expect_condition(const std::string& name, const WanModel& model, const Job& job) {
  if (job.image.empty()) return {};
  const at::Tensor first = read_input_picture(job.image, "image");
  const at::Tensor last = job.last_image.empty() ? at::Tensor() : read_input_picture(job.last_image, "last-image");
  at::Tensor states;
  if (model.image_encoder) {
    const auto encoder = load_image_encoder(model, "fp32", at::kCPU);
    const int64_t side = model.image_encoder->image_size;
    states = encoder.part(clip_pixels(first, side));
    if (last.defined()) states = at::cat({states, encoder.part(clip_pixels(last, side))}, 1);
  }
  const ImageCondition made =
      image_condition(model, load_vae(model, "fp32", at::kCPU), job, first, last, states, at::kCPU);
  const at::Tensor shown = made.channels.defined() ? made.channels : made.first_frame;
  EXPECT_LE(test::relative_error(shown, fixture()[name + ".condition"]), 2e-5);
  return made;
}

void expect_run(const nlohmann::json& run) {
  const std::string name = run.at("name");
  SCOPED_TRACE(name);
  const c10::InferenceMode inference;
  const OpenedModel opened(run.at("model"));
  const WanModel& model = opened.model;
  std::vector<std::string> notes;
  const at::Tensor noise = fixture()[name + ".noise"];
  const Job job = resolve_job(job_of(run), model, noise, notes);
  EXPECT_EQ(high_noise_calls(job, model), std::count(run.at("experts").begin(), run.at("experts").end(), 0));
  const ImageCondition condition = expect_condition(name, model, job);
  const auto high = load_transformer(model, "fp32", at::kCPU);
  std::optional<Loaded<WanTransformer>> low;
  if (model.transformer_2) low = load_transformer(model, "fp32", at::kCPU, false, WanExpert::kLowNoise);
  const auto expert = [&](double timestep) -> WanNetwork::Expert {
    const WanExpert which = model.expert_at(timestep);
    return {which, which == WanExpert::kLowNoise ? *low : high};
  };
  WanNetwork network(expert, {condition}, nullptr, nullptr);
  int64_t compared = 0;
  const auto compare = [&](size_t, int64_t done, const at::Tensor& sample) {
    EXPECT_CLOSE(sample, fixture()[name + ".latents_after_step" + std::to_string(done - 1)], 1e-4);
    ++compared;
  };
  SampleTask task{.sampler = sampler_of(job, model),
                  .noise = noise,
                  .guidance = guidance_of(job, model),
                  .positive = fixture()["prompt"],
                  .negative = fixture()["negative"]};
  const at::Tensor latents = sample_one(
      std::move(task), std::ref(network),
      {.before_network_call = [&](std::span<const TaskRows> rows) { network.begin(rows); }, .on_step = compare});
  EXPECT_EQ(compared, run.at("steps").get<int64_t>());
  std::vector<at::Tensor> chunks;
  decode_latents(model, load_vae(model, "fp32", at::kCPU), with_first_frame(latents, condition.first_frame),
                 [&](const at::Tensor& frames) { chunks.push_back(frames); });
  const at::Tensor frames = at::cat(chunks, 2).select(0, 0).permute({1, 2, 3, 0});  // [T, H, W, 3]
  const at::Tensor want = fixture()[name + ".frames"];
  ASSERT_EQ(frames.sizes(), want.sizes());
  EXPECT_LE((frames - want).abs().max().item<double>(), 5e-4);
}

TEST(WanImages, AClipHasTheShapeOfItsPictureUnlessASizeIsGiven) {
  const OpenedModel opened("i2v");
  std::vector<std::string> notes;
  Job job;
  job.prompt = "any";
  job.frames = 5;
  job.image.path = (fixture().folder / "first.png").string();  // 61x43
  const Job made = resolve_job(job, opened.model, {}, notes);
  EXPECT_EQ(*made.width, 752);  // at most the area of 832x480, in steps of 16
  EXPECT_EQ(*made.height, 528);
  EXPECT_EQ(made.steps, 40);
  EXPECT_EQ(made.image.sha256.size(), 64u);
  job.width = 64;
  EXPECT_EQ(*resolve_job(job, opened.model, {}, notes).height, 480);
  job.image.sha256 = "0";
  notes.clear();
  resolve_job(job, opened.model, {}, notes);
  EXPECT_NE(std::find_if(notes.begin(), notes.end(),
                         [](const std::string& note) { return note.find("has changed") != std::string::npos; }),
            notes.end());
}

TEST(WanImages, OneScaleIsForBothExpertsUnlessTwoAreGiven) {
  const OpenedModel opened("a14b_t2v");
  std::vector<std::string> notes;
  Job job;
  job.prompt = "any";
  job.width = job.height = 32;
  job.frames = 5;
  const Job own = resolve_job(job, opened.model, {}, notes);
  EXPECT_EQ(own.cfg_scale, 4.0);
  EXPECT_EQ(own.cfg_scale_2, 3.0);
  EXPECT_EQ(own.steps, 40);
  job.cfg_scale = 2;
  EXPECT_EQ(resolve_job(job, opened.model, {}, notes).cfg_scale_2, 2.0);
  job.cfg_scale_2 = 1;
  EXPECT_EQ(resolve_job(job, opened.model, {}, notes).cfg_scale_2, 1.0);
  EXPECT_EQ(opened.model.expert_at(875), WanExpert::kHighNoise);
  EXPECT_EQ(opened.model.expert_at(874.9), WanExpert::kLowNoise);
}

TEST(WanImages, PipelinesEqualTheReferenceAtEveryStep) {
  ASSERT_FALSE(fixture().config.at("runs").empty());
  for (const auto& run : fixture().config.at("runs")) expect_run(run);
}

}  // namespace
}  // namespace tessera
