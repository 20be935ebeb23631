// The tiny decoder of previews against TAEHV's own, in narrow widths with random weights.
#include "checkpoints/wan/tiny_decoder.h"

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

constexpr double kTolerance = 1e-5;

/// A run's weights in a file of their own, with an encoder that no preview needs.
std::filesystem::path decoder_file(const test::TemporaryFolder& folder, const test::Fixture& fixture,
                                   const std::string& run) {
  auto tensors = test::part_of(fixture.weights(), run + ".").tensors();
  tensors["encoder.0.weight"] = at::zeros({4, 3, 3, 3});
  const std::filesystem::path path = folder.path() / (run + ".safetensors");
  write_safetensors(path, tensors);
  return path;
}

at::Tensor pictures_of(const TinyDecoder& decoder, const at::Tensor& latents) {
  std::vector<at::Tensor> pictures;
  decoder(latents, [&](int64_t frame, const at::Tensor& picture) {
    EXPECT_EQ(frame, static_cast<int64_t>(pictures.size()));
    pictures.push_back(picture);
  });
  return at::cat(pictures);
}

TEST(TinyDecoderParity, OnePictureForEachLatentFrame) {
  const test::Fixture fixture("tiny_decoder");
  const test::TemporaryFolder folder;
  ASSERT_FALSE(fixture.config.at("runs").empty());
  for (const auto& run : fixture.config.at("runs")) {
    const auto name = run.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const TinyDecoder decoder =
        load_tiny_decoder(decoder_file(folder, fixture, name), run.at("z_dim").get<int64_t>(), at::kCPU);
    EXPECT_EQ(decoder.config().patch_size, run.at("patch_size").get<int64_t>());
    EXPECT_EQ(decoder.config().widths, (run.at("widths").get<std::array<int64_t, 4>>()));
    EXPECT_EQ(decoder.config().frames_per_latent, (run.at("frames_per_latent").get<std::array<int64_t, 3>>()));
    EXPECT_CLOSE(pictures_of(decoder, fixture[name + ".latents"]), fixture[name + ".pictures"], kTolerance);
  }
}

TEST(TinyDecoderParity, OtherFilesAreNamedForWhatTheyAre) {
  const test::Fixture fixture("tiny_decoder");
  const test::TemporaryFolder folder;
  const std::filesystem::path good = decoder_file(folder, fixture, "wan21");
  const auto refused = [&](const std::function<void(std::map<std::string, at::Tensor>&)>& change, int64_t z_dim = 16) {
    auto tensors = read_safetensors(good).tensors();
    change(tensors);
    const std::filesystem::path path = folder.path() / "changed.safetensors";
    write_safetensors(path, tensors);
    return test::error_of([&] { load_tiny_decoder(path, z_dim, at::kCPU); });
  };
  const auto nothing = [](auto&) {};
  EXPECT_NE(refused(nothing, 48).find("decodes latents of 16 channels, this model's have 48"), std::string::npos);
  EXPECT_NE(refused([](auto& t) { t.erase("decoder.13.conv.weight"); }).find("has no tensor decoder.13.conv.weight"),
            std::string::npos);
  EXPECT_NE(refused([](auto& t) {
              t["decoder.0.weight"] = at::zeros({8, 16, 1, 1});
            }).find("\"super\" form"),
            std::string::npos);
  EXPECT_NE(refused([](auto& t) { t["decoder.8.weight"] = at::zeros({3}); }).find("which is no convolution"),
            std::string::npos);
  EXPECT_NE(refused([](auto& t) { t["decoder.3.conv.2.bias"] = at::zeros({7}); }).find("decoder.3.conv.2.bias"),
            std::string::npos);
  EXPECT_NE(refused([](auto& t) {
              t["decoder.22.weight"] = at::zeros({5, 6, 3, 3});
            }).find("decoder.22"),
            std::string::npos);
  EXPECT_NE(refused([](auto& t) { t["decoder.22.bias"].fill_(NAN); }).find("decoder.22.bias"), std::string::npos);
}

}  // namespace
}  // namespace tessera
