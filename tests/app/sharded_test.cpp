// Models in shards and variants on the built binary: the same pixels, and one line for what is missing.
#include <nlohmann/json.hpp>

#include "checkpoints/wan/model.h"
#include "media/picture.h"
#include "tests/support/process.h"
#include "tests/support/shards.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;

struct Sharded : testing::Test {
  test::TemporaryFolder folder;
  const ModelDir copy = test::copy_of_pipeline(folder / "model");

  ProcessResult generate(const fs::path& model, const std::string& name) const {
    return test::tessera({"generate", "a red star", "--model", model, "--dtype", "fp32", "--size", "48x32", "--frames",
                          "1", "--steps", "2", "--seed", "3", "--max-sequence-length", "64", "-o", folder / name});
  }
  at::Tensor picture(const fs::path& model, const std::string& name) const {
    const ProcessResult result = generate(model, name);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? read_picture(folder / name) : at::Tensor();
  }
};

TEST_F(Sharded, RendersAndConvertsAsTheWholeDoes) {
  for (const char* name : {"text_encoder", "transformer"}) test::shard(copy.component(name));
  const at::Tensor want = picture(test::fixture_folder() / "wan_pipeline" / "pipeline", "whole.png");
  EXPECT_TRUE(at::equal(picture(copy.path, "sharded.png"), want));
  const ProcessResult converted = test::tessera({"convert", copy.path, folder / "out"});
  ASSERT_EQ(converted.exit_code, 0) << converted.err;
  EXPECT_TRUE(fs::exists(folder / "out/text_encoder/model.safetensors"));
  EXPECT_TRUE(at::equal(picture(folder / "out", "converted.png"), want));
}

TEST_F(Sharded, AVariantRendersAsTheSameWeightsWithoutIt) {
  for (const char* name : {"text_encoder", "transformer", "vae"})
    test::make_variant(copy.component(name), "bf16", at::kBFloat16);
  const ProcessResult converted = test::tessera({"convert", copy.path, folder / "out"});
  ASSERT_EQ(converted.exit_code, 0) << converted.err;
  const TensorFile vae = read_weights(open_model_dir(folder / "out").component("vae"));
  EXPECT_EQ(vae.tensors().begin()->second.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(picture(copy.path, "variant.png"), picture(folder / "out", "plain.png")));
}

TEST_F(Sharded, AMissingShardIsOneLineOfEveryCommand) {
  const fs::path lost = test::shard(copy.component("text_encoder"));
  fs::remove(lost);
  for (const ProcessResult& result :
       {generate(copy.path, "x.png"), test::tessera({"convert", copy.path, folder / "out", "--quiet"})}) {
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("missing shard " + lost.string()), std::string::npos) << result.err;
  }
  EXPECT_FALSE(fs::exists(folder / "x.png") || fs::exists(folder / "out"));
  const ProcessResult info = test::tessera({"info", "--json", copy.path});
  ASSERT_EQ(info.exit_code, 0) << info.err;
  const auto missing = nlohmann::json::parse(info.out).at("missing");
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_NE(missing[0].get<std::string>().find(lost.string()), std::string::npos);
}

}  // namespace
}  // namespace tessera
