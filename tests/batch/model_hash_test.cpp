#include "batch/model_hash.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoints/wan/model.h"
#include "core/sha256.h"
#include "tests/support/files.h"
#include "tests/support/wan_release.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

Component part(const std::string& name, const fs::path& folder) {
  return {.name = name, .library = "diffusers", .class_name = "Any", .folder = folder};
}

ModelDir model_of(const fs::path& path, std::vector<Component> parts = {}) {
  return {.path = path,
          .class_name = "AnyPipeline",
          .index = {nlohmann::json::object(), path.string()},
          .components = std::move(parts)};
}

std::string hash_of(const ModelDir& model) {
  return hash_model(model, {}).hash;
}

void flip_middle_byte(const fs::path& path) {
  std::string bytes = test::read_text(path);
  bytes[bytes.size() / 2] = static_cast<char>(~bytes[bytes.size() / 2]);
  write(path, bytes);
}

/// A model folder of two files.
class ModelHashes : public testing::Test {
 protected:
  ModelHashes() {
    write(model / "a.b", "one");
    write(model / "a/b", "two");
  }

  test::TemporaryFolder folder;
  fs::path model = folder / "model";
  // printf 'a/b 3\ntwoa.b 3\none' | sha256sum
  const std::string want = "b77c1f464b96f84f0a03b3085b5d03f129b275a3fd70ebb448816b8adc650cd0";
};

TEST_F(ModelHashes, IsThatOfTheVisibleFilesAlone) {
  EXPECT_EQ(hash_of(model_of(model, {part("a", model / "a")})), want);
  for (const char* name : {".hidden", ".git/HEAD", ".cache/huggingface/download/a.metadata", "a/.cache/b"})
    write(model / name, "1700000000");
  EXPECT_EQ(hash_of(model_of(model, {part("a", model / "a")})), want);
  write(model / "a/b", "TWO");
  EXPECT_NE(hash_of(model_of(model)), want);
  EXPECT_EQ(hash_of(model_of(model / "a.b")), sha256("one")) << "a model in one file";
}

TEST_F(ModelHashes, CoversPartsThatLieElsewhere) {
  write(folder / "vae/weights", "v");
  const auto with_vae = [&](const fs::path& vae) { return hash_of(model_of(model, {part("vae", vae)})); };
  const std::string whole = with_vae(folder / "vae");
  EXPECT_NE(whole, want);
  fs::copy(folder / "vae", folder / "copy", fs::copy_options::recursive);
  EXPECT_EQ(with_vae(folder / "copy"), whole) << "where it lies does not matter";
  write(folder / "vae/.cache/x", "1700000000");
  EXPECT_EQ(with_vae(folder / "vae"), whole);
  write(folder / "vae/weights", "w");
  EXPECT_NE(with_vae(folder / "vae"), whole);

  // One file, beside files that are none of its business.
  Component file = part("vae", folder / "copy");
  file.files = {folder / "copy/weights"};
  file.settings = JsonConfig(nlohmann::json{{"a", 1}}, "derived");
  const std::string one = hash_of(model_of(model, {file}));
  write(folder / "copy/other", "x");
  EXPECT_EQ(hash_of(model_of(model, {file})), one);
  file.settings = JsonConfig(nlohmann::json{{"a", 2}}, "derived");
  EXPECT_NE(hash_of(model_of(model, {file})), one) << "a config beside it";
  write(folder / "copy/weights", "w");
  EXPECT_NE(hash_of(model_of(model, {file})), one);

  // Inside the model's folder, but hidden there.
  write(model / ".vae/weights", "v");
  EXPECT_EQ(hash_of(model_of(model)), want);
  EXPECT_EQ(with_vae(model / ".vae"), whole);
}

TEST_F(ModelHashes, CoversConfigsThatWereDerivedForAFolder) {
  const auto hash_with = [&](int value) {
    Component derived = part("a", model);
    derived.settings = JsonConfig(nlohmann::json{{"a", value}}, "a training YAML above the folder");
    return hash_of(model_of(model, {derived}));
  };
  EXPECT_EQ(hash_with(1), hash_with(1));
  EXPECT_NE(hash_with(1), hash_with(2));
}

TEST_F(ModelHashes, CoversTheReleaseBesideAnMhlaCheckpoint) {
  const test::WanRelease release(test::fixture_folder() / "wan_pipeline" / "pipeline");
  const fs::path checkpoint = release.write_mhla_project(folder / "project");
  const auto hash = [&] { return hash_of(open_wan_model(checkpoint).folder); };
  std::string before = hash();
  EXPECT_EQ(hash(), before);
  for (const char* file : {"pretrained_models/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth",
                           "pretrained_models/Wan2.1-T2V-1.3B/google/umt5-xxl/spiece.model"}) {
    flip_middle_byte(folder / "project" / file);
    const std::string after = hash();
    EXPECT_NE(after, before) << file;
    before = after;
  }
  const fs::path yaml = folder / "project/configs/hybrid.yaml";
  std::string text = test::read_text(yaml);
  write(yaml, text.replace(text.find("norm_output: true"), 17, "norm_output: false"));
  EXPECT_NE(hash(), before) << "the attention that it describes is another one";
}

TEST_F(ModelHashes, AProcessTakesTheHashThatIsPassedOnWhileNothingHasChanged) {
  write(folder / "vae/weights", "v");
  const ModelDir files = model_of(model, {part("vae", folder / "vae")});
  ModelHash made = hash_model(files, {});
  const std::string real = std::exchange(made.hash, "not computed again");
  EXPECT_EQ(hash_model(files, pass_on(made)).hash, made.hash);
  for (const fs::path& file : {model / "a.b", folder / "vae/weights"}) {
    const auto time = fs::last_write_time(file);
    write(file, "changed");
    fs::last_write_time(file, time);  // a copy may keep it
    EXPECT_EQ(hash_model(files, pass_on(made)).hash, hash_model(files, {}).hash) << file;
    made = {.hash = "not computed again", .stamp = hash_model(files, {}).stamp};
    EXPECT_EQ(hash_model(files, pass_on(made)).hash, made.hash);
  }
  EXPECT_NE(hash_model(files, {}).hash, real);
  EXPECT_EQ(hash_model(files, {{"TESSERA_MODEL_HASH", "nonsense"}}).hash, hash_model(files, {}).hash);
}

}  // namespace
}  // namespace tessera
