// Wan's own release, single files and MHLA checkpoints, laid out as users have them, from the fixtures' tiny weights.
#include "checkpoints/wan/layouts.h"
#include "models/wan/transformer.h"
#include "pipelines/families/families.h"
#include "pipelines/families/wan/resolve.h"
#include "pipelines/recipe.h"
#include "tests/support/wan_hybrid.h"
#include "tests/support/wan_release.h"
#include "tests/weights/support.h"
#include "weights/names.h"

namespace tessera {
namespace {

ModelLayout recognize_layout(const std::filesystem::path& path) {
  return recognize_pipeline(path, families(), {}).layout;
}

namespace fs = std::filesystem;
using nlohmann::json;
using test::error_of;

const fs::path kPipeline = test::fixture_folder() / "wan_pipeline" / "pipeline";
const fs::path kArchives = fs::path(TESSERA_SOURCE_DIR) / "tests/data/wan_release";
const std::string kVaeName = "Wan2.1_VAE.safetensors", kTextName = "models_t5_umt5-xxl-enc-bf16.pth";
const std::string kTransformerName = "diffusion_pytorch_model.safetensors";

void expect_same(const TensorFile& actual, const TensorFile& expected) {
  ASSERT_EQ(actual.names(), expected.names());
  for (const auto& [name, tensor] : expected.tensors()) EXPECT_TRUE(at::equal(actual.at(name), tensor)) << name;
}

struct WanLayouts : testing::Test {
  test::TemporaryFolder root;
  fs::path folder = root / "Wan2.1-T2V-1.3B";
  const ModelDir pipeline = open_model_dir(kPipeline);
  const test::WanRelease release{kPipeline};
  const json config = release.config();

  void write_json(const fs::path& path, const json& value) { test::write_bytes(path, value.dump()); }

  void write_parts(const fs::path& into) {
    fs::create_directories(into / "google/umt5-xxl");
    fs::copy_file(kArchives / kTextName, into / kTextName);
    fs::copy_file(kPipeline / "tokenizer/spiece.model", into / "google/umt5-xxl/spiece.model");
    write_safetensors(into / kVaeName,
                      test::as_published(read_weights(pipeline.component("vae")), wan_vae_names(4, 1)));
  }

  void write_release() {
    write_parts(folder);
    write_json(folder / "config.json", config);
    write_safetensors(folder / kTransformerName, release.transformer());
  }
};

TEST_F(WanLayouts, TheReleaseIsTheDiffusersModel) {
  write_release();
  const ModelLayout layout = recognize_layout(folder);
  EXPECT_EQ(layout.name, "wan");
  EXPECT_TRUE(layout.missing.empty()) << layout.missing.front();
  const WanModel model = open_wan_model(folder), same = open_wan_model(kPipeline);
  for (const char* part : {"transformer", "text_encoder", "vae"}) {
    SCOPED_TRACE(part);
    expect_same(read_component(model.folder.component(part)), read_component(same.folder.component(part)));
  }
  EXPECT_EQ(model.transformer.num_attention_heads, 2);
  EXPECT_EQ(model.vae.base_dim, same.vae.base_dim);
  EXPECT_EQ(model.vae.latents_mean, same.vae.latents_mean);
  EXPECT_EQ(model.text_encoder.d_ff, same.text_encoder.d_ff);
  check_weights(model);
  EXPECT_EQ(load_tokenizer(model).encode("a red star"), load_tokenizer(same).encode("a red star"));
}

TEST_F(WanLayouts, DefaultsAreWansOwn) {
  write_release();
  const WanModel model = open_wan_model(folder);
  const Job defaults = model_defaults(model);
  EXPECT_EQ(defaults.sampler, "unipc");
  EXPECT_EQ(defaults.steps, 50);
  EXPECT_EQ(defaults.cfg_scale, 5.0);
  EXPECT_EQ(defaults.frames, 81);
  EXPECT_EQ(defaults.fps, (FrameRate{16, 1}));
  Job job;
  job.prompt = "a red star";
  job.output = "x.mp4";
  std::vector<std::string> notes;
  EXPECT_EQ(resolve_job(job, model, {}, notes).flow_shift, 3.0);
  job.width = 1280;
  job.height = 720;
  job.vae_tile = 0;
  EXPECT_EQ(resolve_job(job, model, {}, notes).flow_shift, 5.0);
  job.flow_shift = 8;
  EXPECT_EQ(resolve_job(job, model, {}, notes).flow_shift, 8.0);
}

TEST_F(WanLayouts, ShardsOfTheRelease) {
  write_release();
  fs::remove(folder / kTransformerName);
  std::map<std::string, at::Tensor> shards[2];
  json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", json::object()}};
  const char* names[] = {"diffusion_pytorch_model-00001-of-00002.safetensors",
                         "diffusion_pytorch_model-00002-of-00002.safetensors"};
  for (const auto& [name, tensor] : release.transformer()) {
    const size_t shard = name.starts_with("blocks.1.");
    shards[shard].emplace(name, tensor);
    index["weight_map"][name] = names[shard];
  }
  for (size_t i = 0; i < 2; ++i) write_safetensors(folder / names[i], shards[i]);
  write_json(folder / "diffusion_pytorch_model.safetensors.index.json", index);
  expect_same(read_component(open_wan_model(folder).folder.component("transformer")),
              read_weights(pipeline.component("transformer")));
  fs::remove(folder / names[1]);
  EXPECT_ERROR(open_wan_model(folder), "is not complete", "missing shard", names[1]);
}

TEST_F(WanLayouts, WhatIsMissingIsSaidAtOnce) {
  write_release();
  fs::remove(folder / kVaeName);
  fs::remove(folder / kTextName);
  fs::rename(folder / "google/umt5-xxl/spiece.model", folder / "google/umt5-xxl/tokenizer.json");
  EXPECT_EQ(recognize_layout(folder).missing.size(), 4u);
  EXPECT_ERROR(open_wan_model(folder), "is not complete", "no text encoder: want", kTextName, "no autoencoder: want",
               "Wan2.1_VAE.pth", "google/umt5-xxl/spiece.model", "tokenizer.json is not supported", "a Wan release");
}

TEST_F(WanLayouts, TheTransformerMayBeMissingOrDamaged) {
  write_release();
  const std::string whole = test::read_text(folder / kTransformerName);
  test::write_bytes(folder / kTransformerName, whole.substr(0, whole.size() / 2));
  EXPECT_ERROR(open_wan_model(folder), "is not complete", "truncated", "download or copy it again");
  fs::remove(folder / kTransformerName);
  EXPECT_ERROR(open_wan_model(folder), "no transformer: want", kTransformerName);
}

/// A transformer of the wan_images fixture as Wan's own programs save it, with its config.json.
void write_image_transformer(const fs::path& into, const std::string& name, const std::string& part, json config) {
  const Component saved = open_component(test::fixture_folder() / "wan_images" / name / part);
  const JsonConfig ours = saved.config();
  config["model_type"] = name == "flf2v" ? "flf2v" : "i2v";
  for (const auto& [theirs, key] : {std::pair("in_dim", "in_channels"), std::pair("out_dim", "out_channels"),
                                    std::pair("num_heads", "num_attention_heads"), std::pair("ffn_dim", "ffn_dim"),
                                    std::pair("num_layers", "num_layers"), std::pair("freq_dim", "freq_dim")})
    config[theirs] = ours.integer(key);
  config["dim"] = ours.integer("attention_head_dim") * ours.integer("num_attention_heads");
  test::write_bytes(into / "config.json", config.dump());
  write_safetensors(into / kTransformerName, test::as_published(read_weights(saved), wan_transformer_names(2)));
}

TEST_F(WanLayouts, ExpertsLieInTwoFolders) {
  for (const std::string name : {"a14b_t2v", "a14b_i2v"}) {
    SCOPED_TRACE(name);
    const fs::path release_folder = root / name;
    write_parts(release_folder);
    write_image_transformer(release_folder / "high_noise_model", name, "transformer", config);
    write_image_transformer(release_folder / "low_noise_model", name, "transformer_2", config);
    const WanModel model = open_wan_model(release_folder);
    const bool image = name == "a14b_i2v";
    EXPECT_EQ(model.needs_image(), image);
    EXPECT_EQ(model.takes_last_image(), image);
    EXPECT_EQ(model.boundary_ratio, image ? 0.9 : 0.875);
    for (const char* part : {"transformer", "transformer_2"})
      expect_same(read_component(model.folder.component(part)),
                  read_weights(open_component(test::fixture_folder() / "wan_images" / name / part)));
    const Job defaults = model_defaults(model);
    EXPECT_EQ(defaults.flow_shift, image ? 5.0 : 12.0);
    EXPECT_EQ(defaults.cfg_scale, image ? 3.5 : 4.0);
    EXPECT_EQ(defaults.cfg_scale_2, image ? 3.5 : 3.0);
    EXPECT_EQ(defaults.steps, 40);
    check_weights(model);
    fs::remove_all(release_folder / "low_noise_model");
    EXPECT_ERROR(open_wan_model(release_folder), "is not complete", "low_noise_model");
  }
}

TEST_F(WanLayouts, AnImageModelNeedsItsEncoder) {
  for (const std::string name : {"i2v", "flf2v"}) {
    SCOPED_TRACE(name);
    const fs::path release_folder = root / name;
    write_parts(release_folder);
    write_image_transformer(release_folder, name, "transformer", config);
    const ModelLayout layout = recognize_layout(release_folder);
    EXPECT_EQ(layout.model.class_name, "WanImageToVideoPipeline");
    EXPECT_ERROR(layout.require_complete(), "no image encoder: want",
                 "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth");
    const WanTransformerConfig transformer =
        WanTransformerConfig::from_json(layout.model.component("transformer").config());
    EXPECT_EQ(transformer.image_dim, 24);
    EXPECT_EQ(transformer.image_positions, name == "flf2v" ? 10 : 0);
    expect_same(read_component(layout.model.component("transformer")),
                read_weights(open_component(test::fixture_folder() / "wan_images" / name / "transformer")));
  }
}

TEST_F(WanLayouts, WansOwnImageEncoderIsTransformers) {
  const Component saved = open_component(test::fixture_folder() / "wan_images" / "image_encoder");
  const TensorFile ours = read_component(saved);
  const std::string tower = "vision_model.", layer = tower + "encoder.layers.";
  std::map<std::string, at::Tensor> theirs = {
      {"visual.cls_embedding", ours.at(tower + "embeddings.class_embedding").view({1, 1, -1})},
      {"visual.pos_embedding", ours.at(tower + "embeddings.position_embedding.weight").unsqueeze(0)},
      {"visual.patch_embedding.weight", ours.at(tower + "embeddings.patch_embedding.weight")},
      {"visual.head", at::zeros({24, 8})},
      {"textual.token_embedding.weight", at::zeros({2, 2})},
      {"log_scale", at::zeros({})}};
  for (const std::string kind : {"weight", "bias"}) {
    theirs["visual.pre_norm." + kind] = ours.at(tower + "pre_layrnorm." + kind);
    theirs["visual.post_norm." + kind] = ours.at(tower + "post_layernorm." + kind);
    for (const std::string i : {"0.", "1.", "2."}) {
      const auto part = [&](const std::string& name) { return ours.at(layer + i + name + "." + kind); };
      const std::string into = "visual.transformer." + i;
      theirs[into + "attn.to_qkv." + kind] =
          at::cat({part("self_attn.q_proj"), part("self_attn.k_proj"), part("self_attn.v_proj")});
      theirs[into + "attn.proj." + kind] = part("self_attn.out_proj");
      theirs[into + "norm1." + kind] = part("layer_norm1");
      theirs[into + "norm2." + kind] = part("layer_norm2");
      theirs[into + "mlp.0." + kind] = part("mlp.fc1");
      theirs[into + "mlp.2." + kind] = part("mlp.fc2");
    }
  }
  expect_same(canonical_tensors({theirs, "clip.pth"}, "CLIPVisionModel"), ours);
}

TEST_F(WanLayouts, OtherModelsOfTheFamilyAreNamed) {
  write_release();
  json other = config;
  other["model_type"] = "s2v";
  write_json(folder / "config.json", other);
  EXPECT_ERROR(open_wan_model(folder), "config.json", "model_type", "must be t2v, i2v", "s2v");
  write_json(folder / "config.json", config);
  fs::create_directories(folder / "high_noise_model");
  EXPECT_ERROR(open_wan_model(folder), "is not complete", "high_noise_model", "low_noise_model");
}

TEST_F(WanLayouts, OneFileWithAPrefix) {
  write_parts(folder);
  write_json(root / "single/config.json", config);
  const fs::path file = root / "single/wan_t2v.safetensors";
  write_safetensors(file, release.transformer("model.diffusion_model."));
  const ModelLayout layout = recognize_layout(file);
  EXPECT_TRUE(layout.missing.empty());
  expect_same(read_component(layout.model.component("transformer")), read_weights(pipeline.component("transformer")));
  EXPECT_EQ(layout.model.component("vae").files.front(), folder / kVaeName);
  fs::remove(root / "single/config.json");
  EXPECT_ERROR(recognize_layout(file), "wan_t2v.safetensors", "width 48", "config.json");
}

TEST_F(WanLayouts, PartsMayComeFromADiffusersFolder) {
  const fs::path file = root / "model.safetensors";
  write_json(root / "config.json", config);
  write_safetensors(file, release.transformer());
  fs::create_directory_symlink(kPipeline, root / "Wan2.1-T2V-1.3B-Diffusers");
  EXPECT_TRUE(recognize_layout(file).missing.empty());
  expect_same(read_component(open_wan_model(file).folder.component("vae")), read_weights(pipeline.component("vae")));
}

/// DAGroup-PKU's checkout: mhla_videogen/{configs,pretrained_models,weights}.
struct MhlaLayouts : WanLayouts {
  test::Fixture fixture{"wan_mhla_hybrid_small"};
  fs::path project = root / "mhla_videogen", checkpoint = project / "weights/mhla_videogen/epoch_1_step_500.pth";

  void SetUp() override {
    write_parts(project / "pretrained_models/Wan2.1-T2V-1.3B");
    fs::create_directories(checkpoint.parent_path());
    fs::copy_file(kArchives / "epoch_1_step_500.pth", checkpoint);
  }

  /// A training yaml with the fixture's settings.
  std::string yaml(const std::string& layers, const std::string& layout) const {
    const bool normalized = fixture.config.at("model").at("norm_output");
    return "model:\n  self_attn_type: mhla_uni\n  linear_attn_idx: " + layers + "\n  block_layout: " + layout +
           "\n  norm_output: " + (normalized ? "true" : "false") +
           "\n  video_width: 160 # pixels\n  video_height: 96\n  num_frames: 9\n"
           "vae:\n  vae_pretrained: pretrained_models/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth\n"
           "text_encoder:\n  text_len: 12\n  t5_checkpoint: "
           "pretrained_models/Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth\n"
           "scheduler:\n  flow_shift: 3.5\n";
  }
  std::string own_layers() const { return fixture.config.at("model").at("linear_attn_idx").dump(); }
  std::string own_layout() const { return fixture.config.at("effective_block_layout").dump(); }
  void write_yaml(const std::string& text) { test::write_bytes(project / "configs/hybrid.yaml", text); }
};

TEST_F(MhlaLayouts, AHybridGivesTheReferencesOutput) {
  write_yaml(yaml(own_layers(), own_layout()));
  test::write_bytes(project / "configs/full.yaml", yaml("[0, 1, 2, 3]", own_layout()));
  for (const fs::path& path : {checkpoint, checkpoint.parent_path()}) {
    const ModelLayout layout = recognize_layout(path);
    EXPECT_EQ(layout.name, "wan-mhla");
    EXPECT_TRUE(layout.missing.empty());
    const Component& part = layout.model.component("transformer");
    WanTransformer model(WanTransformerConfig::from_json(part.config()));
    ParamList params;
    model.params(params);
    bind(params, read_component(part), at::kFloat, at::kCPU);
    EXPECT_CLOSE(model(fixture["x"], fixture["t"], test::hybrid_context(fixture)), fixture["out"], 2e-5);
    const json defaults = layout.model.index.json().at("generation_defaults");
    EXPECT_EQ(defaults.at("width"), 160);
    EXPECT_EQ(defaults.at("frames"), 9);
    EXPECT_EQ(defaults.at("flow_shift"), 3.5);
    EXPECT_EQ(defaults.at("max_sequence_length"), 12);
    EXPECT_EQ(layout.model.component("scheduler").config().text("_class_name"), "DPMSolverMultistepScheduler");
  }
}

TEST_F(MhlaLayouts, SettingsThatShapesDoNotSayAreAskedFor) {
  EXPECT_ERROR(recognize_layout(checkpoint), "epoch_1_step_500.pth", "block_layout and normalizer",
               "Wan_1300M_hybrid_mhla.yaml", "config.json");
  write_yaml(yaml("[0, 1]", own_layout()));
  EXPECT_ERROR(recognize_layout(checkpoint), "normalizer", "layers [0, 2, 3]", "hybrid.yaml has MHLA in layers [0, 1]");
  write_yaml(yaml(own_layers(), "[2, 2, 3]"));
  EXPECT_ERROR(recognize_layout(checkpoint), "hybrid.yaml", "[2, 2, 3]", "8 blocks");
  std::string other = yaml(own_layers(), own_layout());
  other.replace(other.find("mhla_uni"), 8, "linear");
  write_yaml(other);
  EXPECT_ERROR(recognize_layout(checkpoint), "hybrid.yaml", "self_attn_type", "mhla_uni");
}

TEST_F(MhlaLayouts, AConfigJsonBesideTheCheckpointWillDo) {
  const std::string normalizer = fixture.config.at("model").at("norm_output").get<bool>() ? "products" : "none";
  write_json(
      checkpoint.parent_path() / "config.json",
      {{"attention", {{"block_layout", fixture.config.at("effective_block_layout")}, {"normalizer", normalizer}}}});
  const ModelLayout layout = recognize_layout(checkpoint);
  EXPECT_TRUE(layout.missing.empty());
  EXPECT_EQ(layout.model.component("transformer").config().object("attention").text("normalizer"), normalizer);
  EXPECT_EQ(layout.model.index.json().at("generation_defaults").at("width"), 800);
}

TEST_F(WanLayouts, OtherFilesAndFoldersAreNotWan) {
  EXPECT_FALSE(recognize_wan_layout(root / "nowhere"));
  EXPECT_FALSE(recognize_wan_layout(kPipeline));
  EXPECT_FALSE(recognize_wan_layout(kPipeline / "transformer"));
  write_safetensors(root / "other.safetensors", {{"x", at::ones({2})}});
  EXPECT_FALSE(recognize_wan_layout(root / "other.safetensors"));
  EXPECT_FALSE(recognize_wan_layout(root.path()));
}

}  // namespace
}  // namespace tessera
