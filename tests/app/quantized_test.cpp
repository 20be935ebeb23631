// Quantized models through the built program: files as others publish them, and those that convert writes.
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/packed.h"
#include "media/picture.h"
#include "models/umt5/umt5.h"
#include "tests/support/process.h"
#include "tests/support/wan_release.h"
#include "weights/packed_write.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ProcessResult;
using Tensors = std::map<std::string, at::Tensor>;

/// The mean difference of two pictures, in levels.
double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().mean().item<double>();
}

/// A folder with a transformer of the fixture quantized_wan, a text encoder of that size and the rest of a small Wan.
struct QuantizedFiles : testing::Test {
  test::TemporaryFolder folder;
  const fs::path fixture = test::fixture_folder() / "quantized_wan";
  const json config = read_json_object(fixture / "config.json").at("model");

  fs::path model() const { return folder / "model"; }

  void SetUp() override {
    test::WanRelease(test::fixture_folder() / "wan_pipeline" / "pipeline").write_parts(model());
    fs::remove(model() / "models_t5_umt5-xxl-enc-bf16.pth");
    json own = config;
    own["_class_name"] = "WanTransformer3DModel";
    std::ofstream(model() / "config.json") << own;
    write_encoder(PackedType::kQ8_0);
  }

  /// A random UMT5 encoder whose width is the transformer's text_dim.
  static Umt5Config encoder_config(int64_t width) {
    return Umt5Config::from_json(
        {json{{"vocab_size", 481}, {"d_model", width}, {"d_kv", 32}, {"d_ff", 64}, {"num_layers", 1}, {"num_heads", 2}},
         "encoder"});
  }

  void write_encoder(PackedType type) const {
    Umt5Encoder encoder(encoder_config(config.at("text_dim")));
    ParamList params;
    encoder.params(params);
    initialize(params, 4, at::kCPU);
    Tensors tensors;
    PackingPlan plan;
    for (const Param& param : params) {
      tensors[param.name] = *param.slot;
      if (param.packable) plan[param.name] = type;
    }
    write_packed(model() / "umt5-xxl-encoder", "UMT5EncoderModel", tensors, plan, {}, {});
  }

  ProcessResult generate(const fs::path& transformer, const std::vector<std::string>& more = {}) const {
    fs::remove(folder / "x.png");
    std::vector<std::string> arguments = {
        "generate", "a red star", "--model",       transformer, "--dtype",
        "fp32",     "--size",     "64x32",         "--frames",  "1",
        "--steps",  "2",          "--seed",        "3",         "--max-sequence-length",
        "32",       "-o",         folder / "x.png"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::tessera(arguments);
  }

  at::Tensor picture(const fs::path& transformer, const std::vector<std::string>& more = {}) const {
    const ProcessResult result = generate(transformer, more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? read_picture(folder / "x.png") : at::Tensor();
  }

  /// The same numbers as a plain float32 file.
  fs::path write_plain(const TensorFile& packed) const {
    Tensors plain;
    for (const auto& [name, tensor] : packed.tensors()) plain[name] = unpacked(tensor, at::kFloat).clone();
    write_safetensors(model() / "plain.safetensors", plain);
    return model() / "plain.safetensors";
  }
};

TEST_F(QuantizedFiles, EveryFormatRendersAsItsNumbersDo) {
  const std::vector<std::string> cases = read_json_object(fixture / "config.json").at("cases");
  for (const std::string& file : cases) {
    SCOPED_TRACE(file);
    fs::copy_file(fixture / file, model() / file);
    const at::Tensor got = picture(model() / file), want = picture(write_plain(read_tensors(model() / file)));
    ASSERT_TRUE(got.defined() && want.defined());
    EXPECT_GT(want.to(at::kFloat).std().item<double>(), 1.0);
    EXPECT_LT(distance(got, want), 0.05);
    EXPECT_TRUE(at::equal(picture(model() / file, {"--stream-layers"}), got));
    fs::remove(model() / file);
  }
}

TEST_F(QuantizedFiles, InfoShowsTheTypes) {
  fs::copy_file(fixture / "mixed.gguf", model() / "mixed.gguf");
  const ProcessResult result = test::tessera({"info", "--json", model() / "mixed.gguf"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json info = json::parse(result.out);
  for (const auto& part : info.at("parts")) {
    const std::string name = part.at("name");
    if (name == "transformer") {
      for (const char* type : {"Q8_0", "Q4_0", "Q2_K", "fp32"}) EXPECT_TRUE(part.at("dtypes").contains(type)) << part;
    } else if (name == "text_encoder") {
      EXPECT_TRUE(part.at("dtypes").contains("Q8_0")) << part;
    }
  }
  const ProcessResult tensors = test::tessera({"info", "--tensors", model() / "mixed.gguf"});
  EXPECT_TRUE(test::contains(tensors.out, "GGUF")) << tensors.out << tensors.err;
  EXPECT_TRUE(test::contains(tensors.out, "blocks.0.self_attn.q.weight  32 x 32  Q8_0")) << tensors.out;
}

TEST_F(QuantizedFiles, WithoutTheScalesIsAnErrorAndNoPicture) {
  Tensors tensors = read_safetensors(fixture / "scaled_fp8.safetensors").tensors();
  std::erase_if(tensors, [](const auto& entry) { return entry.first.ends_with(".scale_weight"); });
  const fs::path file = model() / "scaled.safetensors";
  const auto expect_refused = [&](const std::string& words) {
    write_safetensors(file, tensors);
    const ProcessResult result = generate(file);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_TRUE(test::contains(result.err, file.string())) << result.err;
    EXPECT_TRUE(test::contains(result.err, words)) << result.err;
    EXPECT_FALSE(fs::exists(folder / "x.png"));
  };
  expect_refused("has no scale");
  tensors.erase("model.diffusion_model.scaled_fp8");
  expect_refused("no scales");  // told by the numbers alone
}

TEST_F(QuantizedFiles, ADamagedTextEncoderIsNamed) {
  fs::copy_file(fixture / "mixed.gguf", model() / "mixed.gguf");
  const fs::path encoder = model() / "umt5-xxl-encoder.gguf";
  fs::resize_file(encoder, fs::file_size(encoder) / 2);
  const ProcessResult result = generate(model() / "mixed.gguf");
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_TRUE(test::contains(result.err, "umt5-xxl-encoder.gguf")) << result.err;
  EXPECT_TRUE(test::contains(result.err, "truncated")) << result.err;
}

/// The bundled model in every form that convert writes.
struct QuantizedBundled : testing::Test {
  test::TemporaryFolder folder;
  const fs::path bundled = std::string(TESSERA_SOURCE_DIR) + "/weights/bundled";

  at::Tensor picture(const fs::path& model, const std::vector<std::string>& more = {}) const {
    fs::remove(folder / "x.png");
    std::vector<std::string> arguments = {"generate", "a red heart on a white background",
                                          "--model",  model,
                                          "--dtype",  "fp32",
                                          "--frames", "1",
                                          "--steps",  "4",
                                          "--seed",   "5",
                                          "-o",       folder / "x.png"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = test::tessera(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? read_picture(folder / "x.png") : at::Tensor();
  }

  void convert(const fs::path& in, const fs::path& out, const std::string& dtype) const {
    const ProcessResult result = test::tessera({"convert", in, out, "--dtype", dtype});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
};

TEST_F(QuantizedBundled, ConvertedModelsRenderNearlyTheSame) {
  const at::Tensor want = picture(bundled);
  const std::pair<const char*, double> cases[] = {
      {"q8_0", 1.5}, {"int8", 1.5}, {"fp8", 4.0}, {"q5_1", 4.0}, {"q4_k", 8.0}};
  for (const auto& [dtype, most] : cases) {
    SCOPED_TRACE(dtype);
    const fs::path out = folder / dtype;
    convert(bundled, out, dtype);
    const bool blocks = dtype[0] == 'q';
    EXPECT_TRUE(fs::exists(out / "transformer" /
                           (std::string("diffusion_pytorch_model.") + (blocks ? "gguf" : "safetensors"))));
    EXPECT_TRUE(fs::exists(out / "vae/diffusion_pytorch_model.safetensors"));
    const at::Tensor got = picture(out);
    ASSERT_TRUE(got.defined());
    const double error = distance(got, want);
    EXPECT_GT(error, 0);
    EXPECT_LT(error, most);
    EXPECT_TRUE(at::equal(picture(out, {"--stream-layers"}), got));
  }
}

TEST_F(QuantizedBundled, KeepKeepsWhatIsQuantizedAndADtypeUnpacksIt) {
  for (const char* dtype : {"q8_0", "fp8"}) {
    SCOPED_TRACE(dtype);
    const fs::path first = folder / dtype, again = folder / (std::string(dtype) + "-again"),
                   wide = folder / (std::string(dtype) + "-wide");
    convert(bundled, first, dtype);
    convert(first, again, "keep");
    for (const char* part : {"transformer", "text_encoder"}) {
      const TensorFile a = read_weights(open_component(first / part)), b = read_weights(open_component(again / part));
      ASSERT_EQ(a.names(), b.names());
      for (const auto& [name, tensor] : a.tensors())
        EXPECT_TRUE(!packed_weight(tensor) || same_packed(tensor, b.at(name))) << name;
    }
    convert(first, wide, "fp32");
    const at::Tensor got = picture(wide), want = picture(first);
    EXPECT_LT(distance(got, want), 0.05);
    const ProcessResult info = test::tessera({"info", "--json", wide});
    EXPECT_FALSE(test::contains(info.out, "Q8_0")) << info.out;
  }
}

TEST_F(QuantizedBundled, StreamedPlainWeightsRenderTheSame) {
  const at::Tensor want = picture(bundled), got = picture(bundled, {"--stream-layers"});
  ASSERT_TRUE(got.defined() && want.defined());
  EXPECT_LT(distance(got, want), 0.05);
}

TEST_F(QuantizedBundled, Int8ArithmeticRendersNearlyTheSame) {
  const auto render = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate", "a red circle", "--seed", "3",  "--steps",
                                          "4",        "--frames",     "1",      "-o", folder / "x.png"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::tessera(arguments);
  };
  const auto picture_in = [&](const std::string& dtype) {
    const ProcessResult result = render({"--dtype", dtype});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return read_picture(folder / "x.png");
  };
  const at::Tensor exact = picture_in("fp32"), int8 = picture_in("int8");
  EXPECT_FALSE(at::equal(exact, int8));
  EXPECT_LT(distance(int8, exact), 8.0);
  EXPECT_TRUE(at::equal(picture_in("int8"), int8));
  const ProcessResult streamed = render({"--dtype", "int8", "--stream-layers"});
  EXPECT_EQ(streamed.exit_code, 2);
  EXPECT_TRUE(test::contains(streamed.err, "leave one out")) << streamed.err;
}

TEST_F(QuantizedBundled, AnUnknownTypeIsRefused) {
  const ProcessResult result = test::tessera({"convert", bundled, folder / "x", "--dtype", "q8_1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(test::contains(result.err, "q8_0")) << result.err;
  EXPECT_FALSE(fs::exists(folder / "x"));
}

}  // namespace
}  // namespace tessera
