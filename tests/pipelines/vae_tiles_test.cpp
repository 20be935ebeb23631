// Tiles on trained weights: the bundled model's autoencoder, a picture with edges across every seam.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoints/bundled_model.h"
#include "media/image_io.h"
#include "pipelines/families/wan/text_to_video.h"

namespace tessera {
namespace {

/// Stripes and discs, [1, 3, 1, 320, 448] in [-1, 1].
at::Tensor picture() {
  const at::Tensor y = at::arange(320, at::kFloat).view({-1, 1}), x = at::arange(448, at::kFloat).view({1, -1});
  at::Tensor image = at::stack({(x + y) / 768, at::ones({320, 448}) * 0.3, 1 - y.expand({320, 448}) / 320});
  for (int64_t i = 0; i < 12; ++i) {
    const double cy = 30.0 + 24.0 * static_cast<double>(i), cx = 20.0 + static_cast<double>(i * 149 % 410);
    const at::Tensor inside = ((y - cy).square() + (x - cx).square()) < 26.0 * 26.0;
    const at::Tensor color = at::tensor({i % 2 * 0.9, i % 3 * 0.45, 0.8 - i % 4 * 0.2}, at::kFloat).view({3, 1, 1});
    image = at::where(inside, color, image);
  }
  return (image * 2 - 1).view({1, 3, 1, 320, 448});
}

TEST(VaeTiles, NoSeamsInTheBundledModelsPictures) {
  const c10::InferenceMode inference;
  const WanModel model = open_wan_model(find_bundled_model());
  const auto vae = load_vae(model, "fp32", at::kCPU);
  const at::Tensor latents = vae.part.encode(picture()).mean;
  const at::Tensor whole = vae.part.decode(latents);
  at::Tensor tiled;
  vae.part.decode_tiles(latents, 192, [&](const at::Tensor& frames) { tiled = frames.clone(); });
  const double worst = (tiled - whole).abs().max().item<double>() * 127.5;
  std::printf("largest difference of tiles from whole frames: %.3f of 255 levels\n", worst);
  if (const char* folder = std::getenv("TESSERA_TEST_PICTURES")) {
    write_png(std::string(folder) + "/whole.png", ((whole + 1) / 2).select(0, 0).select(1, 0));
    write_png(std::string(folder) + "/tiled.png", ((tiled + 1) / 2).select(0, 0).select(1, 0));
  }
  EXPECT_LE(worst, 1.0);
}

}  // namespace
}  // namespace tessera
