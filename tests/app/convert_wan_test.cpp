// Wan 2.1's own release and a Wan-MHLA checkpoint become directories of diffusers' layout that render the same.
#include <nlohmann/json.hpp>

#include "checkpoints/convert.h"
#include "checkpoints/wan/model.h"
#include "media/frame_writer.h"
#include "media/picture.h"
#include "pipelines/families/families.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/recipe.h"
#include "tests/support/process.h"
#include "tests/support/wan_release.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ProcessResult;

struct ConvertWan : testing::Test {
  test::TemporaryFolder folder;
  const test::WanRelease release{test::fixture_folder() / "wan_pipeline" / "pipeline"};

  fs::path wan() const {
    release.write(folder / "Wan2.1-T2V-1.3B");
    return folder / "Wan2.1-T2V-1.3B";
  }
  fs::path mhla() const { return release.write_mhla_project(folder / "mhla_videogen"); }

  void convert(const fs::path& in, const fs::path& out, const std::string& dtype) const {
    const ProcessResult result = test::tessera({"convert", in, out, "--dtype", dtype});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }

  json info(const fs::path& model) const {
    const ProcessResult result = test::tessera({"info", "--json", model});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out);
  }

  /// Two steps of a clip of five frames of 64x32, [5, 32, 64, 3].
  at::Tensor frames(const fs::path& model) const {
    const fs::path into = folder / "frames";
    fs::remove_all(into);
    const ProcessResult result =
        test::tessera({"generate", "a red star", "--model", model, "--dtype", "fp32", "--size", "64x32", "--frames",
                       "5", "--steps", "2", "--seed", "3", "--max-sequence-length", "64", "-o", into / "%04d.png"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::vector<at::Tensor> pictures;
    for (int64_t i = 0; result.exit_code == 0 && i < 5; ++i)
      pictures.push_back(read_picture(frame_path(into / "%04d.png", i)));
    return pictures.empty() ? at::Tensor() : at::stack(pictures);
  }

  /// Converted models are recognized, have the same defaults and render the same pixels.
  void expect_the_same(const fs::path& in, const std::vector<fs::path>& outs) const {
    const json from = info(in);
    const at::Tensor want = frames(in);
    ASSERT_TRUE(want.defined());
    EXPECT_GT(want.to(at::kFloat).std().item<double>(), 1.0);
    for (const fs::path& out : outs) {
      SCOPED_TRACE(out);
      const json to = info(out);
      EXPECT_EQ(to.at("layout"), "diffusers");
      EXPECT_EQ(to.at("class"), "WanPipeline");
      EXPECT_EQ(to.at("supported"), true);
      for (const char* key : {"attention", "defaults", "tokens"}) EXPECT_EQ(to.at(key), from.at(key)) << key;
      EXPECT_EQ(to.value("mhla", ""), from.value("mhla", ""));
      const at::Tensor got = frames(out);
      EXPECT_TRUE(got.defined() && at::equal(got, want));
    }
  }

  /// Every file of weights in `out` holds floating-point numbers of `dtype` alone, those of `in`.
  void expect_dtype(const ModelDir& in, const fs::path& out, at::ScalarType dtype) const {
    for (const char* name : {"transformer", "vae", "text_encoder"}) {
      SCOPED_TRACE(name);
      const std::string stem = name == std::string("text_encoder") ? "model" : "diffusion_pytorch_model";
      const TensorFile written = read_safetensors(out / name / (stem + ".safetensors"));
      const TensorFile source = read_part(in.component(name), families());
      ASSERT_EQ(written.names(), source.names());
      for (const auto& [tensor_name, tensor] : written.tensors()) {
        EXPECT_EQ(tensor.scalar_type(), dtype) << tensor_name;
        EXPECT_TRUE(at::equal(tensor, source.at(tensor_name).to(dtype))) << tensor_name;
      }
    }
  }
};

TEST_F(ConvertWan, TheReleaseRendersTheSame) {
  const fs::path in = wan();
  EXPECT_EQ(info(in).at("layout"), "wan");
  convert(in, folder / "out", "keep");
  convert(in, folder / "float", "fp32");
  expect_the_same(in, {folder / "out", folder / "float"});
  // Stored as it was: bfloat16 in the text encoder alone.
  const ModelDir out = open_wan_model(folder / "out").folder;
  EXPECT_EQ(read_part(out.component("text_encoder"), families()).at("shared.weight").scalar_type(), at::kBFloat16);
  EXPECT_EQ(read_part(out.component("transformer"), families()).at("proj_out.weight").scalar_type(), at::kFloat);
}

TEST_F(ConvertWan, TheShiftForLargeVideosIsKept) {
  const fs::path in = wan();
  convert(in, folder / "out", "keep");
  Job job;
  job.prompt = "a red star";
  job.output = "x.mp4";
  job.width = 1280;
  job.height = 720;
  job.vae_tile = 0;
  std::vector<std::string> notes;
  for (const fs::path& path : {in, folder / "out"})
    EXPECT_EQ(resolve_job(job, open_wan_model(path), {}, notes).flow_shift, 5.0) << path;
}

TEST_F(ConvertWan, AnMhlaCheckpointRendersTheSame) {
  const fs::path in = mhla();
  EXPECT_EQ(info(in).at("layout"), "wan-mhla");
  convert(in, folder / "out", "fp32");
  expect_the_same(in, {folder / "out"});
  const json made = info(folder / "out");
  EXPECT_EQ(made.at("attention"), (json{"mhla", "softmax"}));
  EXPECT_EQ(made.at("defaults").at("width"), 160);
  EXPECT_EQ(made.at("defaults").at("flow_shift"), 3.5);
  EXPECT_EQ(made.at("defaults").at("sampler"), "dpmpp_2m");
}

TEST_F(ConvertWan, InHalfPrecisions) {
  const fs::path checkpoint = mhla();
  for (const fs::path& in : {wan(), checkpoint})
    for (const auto& [name, dtype] : {std::pair("fp16", at::kHalf), std::pair("bf16", at::kBFloat16)}) {
      SCOPED_TRACE(in.string() + " " + name);
      const fs::path out = folder / (in.stem().string() + "-" + name);
      convert(in, out, name);
      expect_dtype(open_wan_model(in).folder, out, dtype);
      EXPECT_EQ(frames(out).sizes(), at::IntArrayRef({5, 32, 64, 3}));
    }
}

TEST_F(ConvertWan, WanMhlaAndBackToItsRepositorysFiles) {
  const fs::path checkpoint = mhla();
  convert(checkpoint, folder / "model", "keep");
  const auto back = [&](const fs::path& in, const std::string& out) {
    return test::tessera({"convert", in, folder / out, "--layout", "wan-mhla"});
  };
  const ProcessResult result = back(folder / "model", "back");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const TensorFile written = read_safetensors(folder / "back/model.safetensors");
  const std::map<std::string, at::Tensor> original = release.hybrid();
  EXPECT_EQ(written.tensors().size(), original.size());
  for (const auto& [name, tensor] : original) {
    ASSERT_NE(written.find(name), nullptr) << name;
    EXPECT_TRUE(at::equal(written.at(name), tensor)) << name;
  }
  // In the project's checkout the files take the checkpoint's place.
  const fs::path weights = checkpoint.parent_path();
  fs::remove(checkpoint);
  fs::remove(weights.parent_path() / "configs/hybrid.yaml");
  for (const char* name : {"model.safetensors", "mhla.yaml"}) fs::copy_file(folder / "back" / name, weights / name);
  const auto attention = [](const fs::path& path) {
    return open_wan_model(path).transformer.attention.to_json().dump();
  };
  EXPECT_EQ(attention(weights / "model.safetensors"), attention(folder / "model"));

  wan();
  const ProcessResult softmax = back(folder / "Wan2.1-T2V-1.3B", "softmax");
  EXPECT_EQ(softmax.exit_code, 2);
  EXPECT_NE(softmax.err.find("its attention is softmax, which the code of the MHLA repository does not have"),
            std::string::npos)
      << softmax.err;
  EXPECT_FALSE(fs::exists(folder / "softmax"));
}

}  // namespace
}  // namespace tessera
