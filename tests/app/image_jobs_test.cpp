// Pictures as inputs of jobs, through the built program: bad ones, prompt files, recipes, galleries; models of other
// kinds; MHLA and tiles in models that take pictures.
#include "tests/support/wan_images_app.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;

struct ImageJobs : test::WanImagesApp {
  const std::vector<std::string> settings = {
      "--size", "48x32", "--frames", "5", "--steps", "2", "--dtype", "fp32", "--max-sequence-length", "32"};

  ImageJobs() {
    fs::copy_file(pictures / "first.png", folder / "first.png");
    fs::copy_file(pictures / "last.png", folder / "last.png");
    test::write_bytes(folder / "cut.png", test::read_text(pictures / "first.png").substr(0, 3000));
    test::write_bytes(folder / "empty.png", "");
    test::write_bytes(folder / "text.png", "no picture");
  }

  ProcessResult batch(const std::string& file, const std::string& text, const std::string& name,
                      const std::vector<std::string>& more = {}) {
    test::write_bytes(folder / file, text);
    std::vector<std::string> all = {"batch", folder / file, "--model", model(name), "-o", folder / "out"};
    all.insert(all.end(), settings.begin(), settings.end());
    all.insert(all.end(), more.begin(), more.end());
    return test::tessera(all);
  }

  std::string record() { return test::read_text(folder / "out" / "manifest.jsonl"); }
};

void expect_said(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST_F(ImageJobs, BadPicturesAreOneLine) {
  for (const auto& [file, words] : {std::pair("none.png", "no such file"), std::pair("cut.png", "cut short"),
                                    std::pair("empty.png", "the file is empty"), std::pair("text.png", "text.png")}) {
    SCOPED_TRACE(file);
    expect_refused("i2v", {"--image", folder / file}, {"--image: ", file, words});
    expect_refused("flf2v", {"--image", folder / "first.png", "--last-image", folder / file},
                   {"--last-image: ", file, words});
  }
  expect_refused("ti2v", {"--image", folder.path()}, {"--image: ", "it is a folder"});
  expect_refused("a14b_i2v", {}, {"makes videos from a picture", "--image FILE"});
  std::vector<std::string> bundled = {"generate", "a red star", "--image",        folder / "first.png",
                                      "-q",       "-o",         folder / "no.png"};
  const ProcessResult text_only = test::tessera(bundled);
  EXPECT_EQ(text_only.exit_code, 2);
  expect_said(text_only.err, "this model takes no such picture");
}

TEST_F(ImageJobs, ABatchRefusesThemBeforeItBegins) {
  const std::string prompts = R"([{"prompt": "a", "image": "none.png"},
    {"prompt": "b", "image": "cut.png"},
    {"prompt": "c"},
    {"prompt": "d", "image": "first.png"}])";
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, std::vector<std::string>{"--dry-run"}}) {
    const ProcessResult result = batch("p.json", prompts, "i2v", more);
    EXPECT_EQ(result.exit_code, 2);
    for (const char* part : {"3 mistakes; nothing was rendered", "line 1: --image: cannot read ",
                             "line 2: --image: ", "cut short", "line 3: this model makes videos from a picture"})
      expect_said(result.err, part);
    EXPECT_FALSE(fs::exists(folder / "out" / "manifest.jsonl"));
  }
  const ProcessResult text_only = batch("p.json", R"([{"prompt": "d", "image": "first.png"}])", "a14b_t2v");
  EXPECT_EQ(text_only.exit_code, 2);
  expect_said(text_only.err,
              "line 1: --image " + (folder / "first.png").string() + ": this model takes no such picture");
  const ProcessResult dry = batch("p.json", R"([{"prompt": "d", "image": "first.png"}])", "i2v", {"--dry-run"});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  expect_said(dry.out, "48x32, 5 frames");
}

TEST_F(ImageJobs, TablesAndLinesNamePicturesToo) {
  ProcessResult result = batch("p.csv", "prompt,seed,image,last_image\na star,1,first.png,last.png\n", "flf2v");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json recipe = nlohmann::json::parse(record())["recipe"];
  EXPECT_EQ(recipe["image"]["path"], (folder / "first.png").string());
  EXPECT_EQ(recipe["last_image"]["path"], (folder / "last.png").string());
  EXPECT_NE(recipe["image"]["sha256"], recipe["last_image"]["sha256"]);
  const std::string page = test::read_text(folder / "out" / "index.html");
  for (const char* part :
       {R"("role":"begins with","file":"first.png")", R"("role":"ends with","file":"last.png")", R"("inputs":{")"})
    expect_said(page, part);
  result = batch("p.txt", "a star --i first.png --ei last.png --d 1\n", "flf2v", {"--resume"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_said(result.err, "1 job is done already");
}

TEST_F(ImageJobs, FilesKnowThePictureTheyWereMadeFrom) {
  const auto again = [&](const std::string& made, const std::string& output, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"generate", "--from-file", folder / made, "-o", folder / output});
    return test::tessera(more);
  };
  for (const std::string end : {".png", ".mp4"}) {
    SCOPED_TRACE(end);
    ASSERT_EQ(generate("i2v", {"--size", "48x32", "--image", folder / "first.png", "--frames",
                               end == ".png" ? "1" : "5", "-o", folder / ("a" + end)})
                  .exit_code,
              0);
    const ProcessResult same = again("a" + end, "b" + end);
    ASSERT_EQ(same.exit_code, 0) << same.err;
    EXPECT_EQ(same.err.find("pixels may differ"), std::string::npos) << same.err;
    EXPECT_EQ(test::read_text(folder / ("a" + end)), test::read_text(folder / ("b" + end)));
  }
  fs::copy_file(folder / "last.png", folder / "first.png", fs::copy_options::overwrite_existing);
  const ProcessResult changed = again("a.png", "c.png");
  EXPECT_EQ(changed.exit_code, 0) << changed.err;
  expect_said(changed.err, "first.png has changed since the recipe was made: pixels may differ");
  EXPECT_NE(test::read_text(folder / "a.png"), test::read_text(folder / "c.png"));
  fs::remove(folder / "first.png");
  const ProcessResult gone = again("a.mp4", "c.mp4");
  EXPECT_EQ(gone.exit_code, 2);
  expect_said(gone.err, "was made with the picture " + (folder / "first.png").string());
  expect_said(gone.err, "--image");
  EXPECT_EQ(again("a.mp4", "c.mp4", {"--image", pictures / "first.png"}).exit_code, 0);
}

/// A line of `info` and of `generate` that names the kind.
TEST_F(ImageJobs, OtherKindsOfWanModelsAreNamed) {
  nlohmann::json index = nlohmann::json::parse(test::read_text(model("i2v") / "model_index.json"));
  index["_class_name"] = "WanVACEPipeline";
  test::write_bytes(model("i2v") / "model_index.json", index.dump());
  fs::create_directory(folder / "release");
  test::write_bytes(folder / "release" / "config.json",
                    R"({"model_type": "vace", "dim": 1536, "num_heads": 12, "ffn_dim": 8960, "num_layers": 30})");
  std::map<std::string, at::Tensor> tensors =
      read_safetensors(pictures / "a14b_t2v" / "transformer" / "diffusion_pytorch_model.safetensors").tensors();
  tensors["vace_blocks.0.proj_out.bias"] = at::zeros({2});
  write_safetensors(folder / "vace.safetensors", tensors);
  const std::tuple<fs::path, const char*, const char*> cases[] = {
      {model("i2v"), "WanVACEPipeline is not supported; want", "or WanImageToVideoPipeline"},
      {folder / "release", "other kinds of Wan models are not supported", "\"vace\""},
      {folder / "vace.safetensors", "it is of a Wan VACE model", "which is not supported"}};
  for (const auto& [path, said, more] : cases) {
    SCOPED_TRACE(path);
    const ProcessResult info = test::tessera({"info", path});
    expect_said(info.out + info.err, said);
    expect_said(info.out + info.err, more);
    const ProcessResult run = test::tessera({"generate", "a", "--model", path, "-o", folder / "x.mp4"});
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  }
}

/// The model with an `attention` object: MHLA in all layers but `softmax`, with weights for it.
void give_mhla(const fs::path& model, const std::vector<int64_t>& softmax) {
  const fs::path part = model / "transformer", given = fs::canonical(part);
  nlohmann::json config = nlohmann::json::parse(test::read_text(given / "config.json"));
  std::map<std::string, at::Tensor> tensors = read_safetensors(given / "diffusion_pytorch_model.safetensors").tensors();
  const int64_t head = config["attention_head_dim"], width = head * config["num_attention_heads"].get<int64_t>();
  config["attention"] = {{"kind", "mhla"},
                         {"block_layout", {2, 1, 3}},
                         {"gated", true},
                         {"normalizer", "none"},
                         {"softmax_layers", softmax}};
  for (int64_t layer = 0; layer < config["num_layers"]; ++layer) {
    if (std::count(softmax.begin(), softmax.end(), layer) > 0) continue;
    const std::string stem = "blocks." + std::to_string(layer) + ".attn1.";
    tensors[stem + "block_attn.conv.weight"] = at::linspace(0.1, 0.9, 36).view({6, 6, 1, 1});
    tensors[stem + "g_norm.weight"] = at::ones({head});
    tensors[stem + "g.weight"] = at::linspace(-0.3, 0.3, width * width).view({width, width});
    tensors[stem + "g.bias"] = at::zeros({width});
  }
  fs::remove(part);
  fs::create_directory(part);
  test::write_bytes(part / "config.json", config.dump());
  write_safetensors(part / "diffusion_pytorch_model.safetensors", tensors);
}

TEST_F(ImageJobs, MhlaRunsInModelsThatTakePictures) {
  for (const std::string name : {"i2v", "ti2v"}) {
    SCOPED_TRACE(name);
    const std::vector<std::string> first = {"--size", "48x32", "--image", pictures / "first.png"};
    const at::Tensor plain = frames(name, first);
    give_mhla(model(name), {0, 1});
    EXPECT_TRUE(frames(name, first).equal(plain));
    fs::remove_all(model(name));
    give_mhla(model(name), {0});
    const nlohmann::json info = nlohmann::json::parse(test::tessera({"info", model(name), "--json"}).out);
    EXPECT_EQ(info["attention"], nlohmann::json({"softmax", "mhla"}));
    EXPECT_EQ(info["supported"], true) << info;
    const at::Tensor made = frames(name, first);
    EXPECT_FALSE(made.equal(plain));
    EXPECT_FALSE(frames(name, {"--size", "48x32", "--image", pictures / "last.png"}).equal(made));
  }
}

/// Pictures are encoded and videos decoded in tiles; the frames are larger than a tile in both directions.
TEST_F(ImageJobs, TilesShowNoSeams) {
  for (const std::string name : {"ti2v", "a14b_i2v"}) {
    SCOPED_TRACE(name);
    const std::vector<std::string> whole = {"--size", "320x256", "--image", pictures / "first.png", "--vae-tile", "0"};
    std::vector<std::string> tiles = whole;
    tiles.back() = "192";
    const at::Tensor difference = (frames(name, tiles).to(at::kInt) - frames(name, whole).to(at::kInt)).abs();
    EXPECT_LE(difference.max().item<int64_t>(), 2);
  }
}

}  // namespace
}  // namespace tessera
