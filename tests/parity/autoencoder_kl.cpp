// diffusers' AutoencoderKL: mean, log-variance and decoded picture of each recorded picture, whole and in tiles.
#include "models/kl/autoencoder_kl.h"

#include "tests/support/fixture.h"

namespace tessera {
namespace {

constexpr double kTolerance = 2e-5;

TEST(AutoencoderKl, EncodesAndDecodes) {
  const test::Fixture fixture("autoencoder_kl");
  AutoencoderKl vae(
      AutoencoderKlConfig::from_json({fixture.config.at("model"), (fixture.folder / "config.json").string()}));
  test::load(vae, fixture.weights());
  int64_t pictures = 0;
  for (const std::string& name : fixture.io.names()) {
    if (!name.ends_with(".x")) continue;
    const std::string picture = name.substr(0, name.size() - 2);
    SCOPED_TRACE(picture);
    const KlMoments moments = vae.encode(fixture[name]);
    EXPECT_CLOSE(moments.mean, fixture[picture + ".mean"], kTolerance);
    EXPECT_CLOSE(moments.logvar, fixture[picture + ".logvar"], kTolerance);
    EXPECT_CLOSE(vae.decode(fixture[picture + ".mean"]), fixture[picture + ".decoded"], kTolerance);
    ++pictures;
  }
  EXPECT_GT(pictures, 0);
}

}  // namespace
}  // namespace tessera
