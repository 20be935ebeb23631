// diffusers' AutoencoderKLWan: mean, log-variance and decoded frames of each recorded clip, whole and chunk by chunk.
#include "models/wan/vae.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

constexpr double kTolerance = 5e-5;

struct WanVaeParity : testing::Test {
  test::Fixture fixture{"wan_vae"};
  WanVae vae{WanVaeConfig::from_json({fixture.config.at("model"), (fixture.folder / "config.json").string()})};
  std::vector<std::string> clips;

  WanVaeParity() {
    test::load(vae, fixture.weights());
    for (const std::string& name : fixture.io.names())
      if (name.ends_with(".x")) clips.push_back(name.substr(0, name.size() - 2));
  }
};

TEST_F(WanVaeParity, EncodesAndDecodesWholeClips) {
  ASSERT_FALSE(clips.empty());
  for (const std::string& clip : clips) {
    SCOPED_TRACE(clip);
    const WanMoments moments = vae.encode(fixture[clip + ".x"]);
    EXPECT_CLOSE(moments.mean, fixture[clip + ".mean"], kTolerance);
    EXPECT_CLOSE(moments.logvar, fixture[clip + ".logvar"], kTolerance);
    EXPECT_CLOSE(vae.decode(fixture[clip + ".mean"]), fixture[clip + ".decoded"], kTolerance);
  }
}

TEST_F(WanVaeParity, EncodesAndDecodesChunkByChunk) {
  for (const std::string& clip : clips) {
    SCOPED_TRACE(clip);
    const WanMoments moments = vae.encode_chunks(fixture[clip + ".x"]);
    EXPECT_CLOSE(moments.mean, fixture[clip + ".mean"], kTolerance);
    EXPECT_CLOSE(moments.logvar, fixture[clip + ".logvar"], kTolerance);
    std::vector<at::Tensor> frames;
    vae.decode_chunks(fixture[clip + ".mean"], [&](const at::Tensor& chunk) { frames.push_back(chunk); });
    EXPECT_CLOSE(at::cat(frames, 2), fixture[clip + ".decoded"], kTolerance);
  }
}

}  // namespace
}  // namespace tessera
