#include "pipelines/recipe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/version.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/latents.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

class Recipe : public testing::Test {
 protected:
  /// The fixture's model: stride 8 and patch 2 make multiples of 16; 4 frames a latent frame.
  WanModel model = open_wan_model(test::fixture_folder() / "wan_pipeline" / "pipeline");
  std::vector<std::string> notes;

  Job asked() const {
    Job job;
    job.prompt = "a red star";
    job.output = "x.mp4";
    job.seed = 5;
    return job;
  }

  Job complete(const Job& job, const at::Tensor& latents = {}) {
    notes.clear();
    return resolve_job(job, model, latents, notes);
  }

  std::string refusal(const Job& job, const at::Tensor& latents = {}) {
    return test::refusal_of([&] { complete(job, latents); });
  }
};

TEST_F(Recipe, TheModelDecidesWhatIsLeftOpen) {
  Job job = asked();
  job.steps = 7;
  job = complete(job);
  EXPECT_EQ(job.steps, 7);
  EXPECT_EQ(job.width, 832);
  EXPECT_EQ(job.height, 480);
  EXPECT_EQ(job.frames, 81);
  EXPECT_EQ(job.fps, (FrameRate{16, 1}));
  EXPECT_EQ(job.cfg_scale, 5.0);
  EXPECT_EQ(job.flow_shift, 3.0);
  EXPECT_EQ(job.sampler, "unipc");
  EXPECT_TRUE(notes.empty());
}

TEST_F(Recipe, LargeFramesAreDecodedInTilesUnlessTheUserSaysOtherwise) {
  EXPECT_FALSE(complete(asked()).vae_tile.has_value());
  Job job = asked();
  job.width = 4096;
  job.height = 4096;  // 190 bytes for each of 4 channels and 16.8 million pixels
  EXPECT_EQ(complete(job).vae_tile, 512);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0],
            "decoding whole frames of 4096x4096 would take about 11 GiB: decoding in tiles of 512 pixels (--vae-tile 0 "
            "for whole frames)");
  job.vae_tile = 0;
  EXPECT_EQ(complete(job).vae_tile, 0);
  EXPECT_TRUE(notes.empty());
  job.vae_tile = 191;
  EXPECT_EQ(refusal(job), "--vae-tile 191 is too small for this model: want at least 192, or 0 to decode whole frames");
}

TEST_F(Recipe, GenerationDefaultsOfTheModelComeFirst) {
  nlohmann::json index = model.folder.index.json();
  index["generation_defaults"] = {{"width", 128}, {"steps", 30}, {"cfg_scale", 4}, {"sampler", "euler"}};
  model.folder.index = JsonConfig(index, "model_index.json");
  const Job defaults = model_defaults(model);
  EXPECT_EQ(defaults.width, 128);
  EXPECT_EQ(defaults.height, 480);
  EXPECT_EQ(defaults.steps, 30);
  EXPECT_EQ(defaults.sampler, "euler");
  index["generation_defaults"] = {{"seed", 3}};
  model.folder.index = JsonConfig(index, "model_index.json");
  EXPECT_THROW(model_defaults(model), Error);
  index["generation_defaults"] = {{"stepz", 3}};
  model.folder.index = JsonConfig(index, "model_index.json");
  EXPECT_THROW(model_defaults(model), Error);
}

TEST_F(Recipe, OtherSizesAreRefusedWithTheNearest) {
  Job job = asked();
  job.width = 130;
  job.height = 96;
  EXPECT_EQ(refusal(job),
            "size 130x96 does not fit this model: width must be a multiple of 16 and height of 16; the nearest is "
            "128x96 or 144x96");
  job.width = 8;
  job.height = 8;
  EXPECT_EQ(refusal(job),
            "size 8x8 does not fit this model: width must be a multiple of 16 and height of 16; the nearest is 16x16");
}

TEST_F(Recipe, FramesAreRoundedDown) {
  for (const auto& [frames, taken] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 1}, {4, 1}, {5, 5}, {8, 5}, {16, 13}, {17, 17}}) {
    Job job = asked();
    job.frames = frames;
    EXPECT_EQ(complete(job).frames, taken);
    EXPECT_EQ(notes.empty(), frames == taken) << frames;
  }
}

TEST_F(Recipe, APictureIsOneFrame) {
  Job job = asked();
  job.output = "x.png";
  EXPECT_EQ(complete(job).frames, 1);
  job.frames = 5;
  EXPECT_EQ(refusal(job).rfind("x.png holds one image, not 5 frames", 0), 0u);
  job.output = "";
  EXPECT_EQ(complete(job).output, "tessera_5.mp4");
  job.frames = 1;
  EXPECT_EQ(complete(job).output, "tessera_5.png");
  job.output = "x.tiff";
  EXPECT_NE(refusal(job), "accepted");
}

TEST_F(Recipe, LatentsSetTheSizeAndMustAgree) {
  Job job = asked();
  const at::Tensor latents = at::zeros({1, 16, 3, 4, 6});
  const Job from_latents = complete(job, latents);
  EXPECT_EQ(from_latents.frames, 9);
  EXPECT_EQ(from_latents.width, 48);
  EXPECT_EQ(from_latents.height, 32);
  job.width = 64;
  EXPECT_NE(refusal(job, latents).find("want [1, 16, 3, 4, 8], got [1, 16, 3, 4, 6]"), std::string::npos)
      << refusal(job, latents);
  job.width.reset();
  job.count = 2;
  EXPECT_NE(refusal(job, latents), "accepted");
}

TEST_F(Recipe, PromptsMustSaySomething) {
  Job job = asked();
  const std::string empty =
      "the prompt is empty; say what to show, e.g. tessera generate \"a red star on a blue background\"";
  for (const char* nothing : {"", " \n\t", "&nbsp;"}) {
    job.prompt = nothing;
    EXPECT_EQ(refusal(job), empty);
  }
  job.prompt = std::string(65537, 'a');
  EXPECT_EQ(refusal(job), "the prompt has 65537 bytes, at most 65536 are allowed; shorten it");
  job.prompt = std::string(65536, 'a');
  EXPECT_EQ(refusal(job), "accepted");
  job.prompt = "a \xFF star";
  EXPECT_NE(refusal(job).find("not UTF-8"), std::string::npos);
  job.prompt = "a star";
  job.negative_prompt = "\xC0\xAF";
  EXPECT_NE(refusal(job).find("not UTF-8"), std::string::npos);
}

TEST_F(Recipe, SamplersAreCanonicalAndKnown) {
  Job job = asked();
  job.sampler = "flow_euler";
  EXPECT_EQ(complete(job).sampler, "euler");
  job.sampler = "ddim";
  EXPECT_NE(refusal(job), "accepted");
  job.sampler = "unipd";
  EXPECT_NE(refusal(job).find("unipc"), std::string::npos);
}

TEST_F(Recipe, SeveralOutputsAreNumbered) {
  Job job = asked();
  job.output = "a/star.mp4";
  EXPECT_EQ(output_name(job, 0), "a/star.mp4");
  job.count = 2;
  EXPECT_EQ(output_name(job, 1), "a/star_1.mp4");
  job.output = "a/f_%03d.png";
  EXPECT_EQ(output_name(job, 1), "a/f_%03d_1.png");
}

TEST_F(Recipe, MakesTheSameJobAgain) {
  const Job job = complete(asked());
  Job again;
  apply_json(again, nlohmann::json(output_recipe(job)).at("job"), "recipe");
  EXPECT_EQ(again.seed, 5);
  EXPECT_EQ(recipe_json(again), recipe_json(job));
}

TEST_F(Recipe, ReadsAsOtherProgramsWriteIt) {
  Job job = asked();
  job.negative_prompt = "rain";
  job.width = 128;
  job.height = 96;
  EXPECT_EQ(recipe_text(complete(job)),
            "a red star\nNegative prompt: rain\nSteps: 50, Sampler: unipc, CFG scale: 5.0, Seed: 5, Size: 128x96, "
            "Model: bundled, Frames: 81, FPS: 16, Flow shift: 3.0, Version: tessera " +
                program_version());
}

TEST(NoiseSource, DrawsOneAfterAnotherFromTheSeed) {
  const auto draw = noise_source(42);
  // torch.manual_seed(42); torch.randn(2), torch.randn(2)
  EXPECT_TRUE(at::allclose(draw({2}), at::tensor({0.3367f, 0.1288f}), 0, 1e-4));
  EXPECT_TRUE(at::allclose(draw({2}), at::tensor({0.2345f, 0.2303f}), 0, 1e-4));
}

}  // namespace
}  // namespace tessera
