#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoints/convert.h"
#include "pipelines/families/families.h"
#include "tests/media/folder_test.h"
#include "tests/support/fixture.h"
#include "weights/model_dir.h"

namespace tessera {
namespace {

/// Merging LoRAs into the tiny pipeline of the fixtures.
class ConvertLora : public test::FolderTest {
 protected:
  std::filesystem::path pipeline = test::fixture_folder() / "wan_pipeline/pipeline";
  at::Tensor down = at::arange(96, at::kFloat).view({2, 48}) / 100, up = at::arange(96, at::kFloat).view({48, 2}) / 50;

  ConvertRequest request(const std::string& layer) const {
    write_safetensors(folder / "style.safetensors", {{"transformer." + layer + ".lora_A.weight", down},
                                                     {"transformer." + layer + ".lora_B.weight", up}});
    ConvertRequest request;
    request.input = pipeline;
    request.output = folder / "merged";
    request.loras = {{.path = folder / "style.safetensors", .strength = 0.5}};
    return request;
  }
};

TEST_F(ConvertLora, AddsTheProductToOneWeightAndLeavesTheRest) {
  convert_model(request("blocks.1.attn1.to_q"), families(), [](const std::string&) {});
  const TensorFile before = read_weights(open_model_dir(pipeline).component("transformer"));
  const TensorFile after = read_weights(open_model_dir(folder / "merged").component("transformer"));
  ASSERT_EQ(after.names(), before.names());
  for (const auto& [name, tensor] : before.tensors()) {
    SCOPED_TRACE(name);
    if (name == "blocks.1.attn1.to_q.weight")
      EXPECT_CLOSE(after.at(name), tensor + 0.5 * up.matmul(down), 1e-6);
    else
      EXPECT_TRUE(at::equal(after.at(name), tensor));
  }
}

TEST_F(ConvertLora, ALoraForAnotherModelIsRefusedBeforeAnythingIsWritten) {
  const std::string told =
      test::error_of([&] { convert_model(request("blocks.9.attn1.to_q"), families(), [](const std::string&) {}); });
  EXPECT_TRUE(test::contains(told, "changes nothing in this model"));
  EXPECT_FALSE(std::filesystem::exists(folder / "merged"));
}

TEST_F(ConvertLora, ANetworkByItselfTakesNone) {
  ConvertRequest alone = request("blocks.1.attn1.to_q");
  alone.input = pipeline / "vae";
  EXPECT_TRUE(test::contains(test::error_of([&] { convert_model(alone, families(), [](const std::string&) {}); }),
                             "--lora wants a whole text-to-video model"));
}

}  // namespace
}  // namespace tessera
