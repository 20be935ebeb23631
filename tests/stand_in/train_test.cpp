// Training on the stand-in device: every kind, and the losses of the CPU.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/stand_in/support.h"

namespace tessera::test {
namespace {

using nlohmann::json;

class StandInTraining : public testing::Test {
 protected:
  std::string write(const std::string& name, const json& config) const {
    std::ofstream(folder / name) << config.dump();
    return (folder / name).string();
  }

  json run_keys(const std::string& run, int steps) const {
    return {{"run", (folder / run).string()},
            {"output", (folder / (run + "_out")).string()},
            {"steps", steps},
            {"dtype", "fp32"},
            {"warmup", 0.0},
            {"log_every", 1},
            {"checkpoint_minutes", 1000},
            {"sheet_minutes", 1000}};
  }

  static json merged(json a, const json& b) {
    a.update(b);
    return a;
  }

  StandInRun train(const std::string& what, const std::string& config) const {
    return done_on_stand_in({"train", what, "--config", config, "--device", "cuda"});
  }

  /// The measure of each step of a run.
  std::vector<double> measures(const std::string& run, const std::string& name) const {
    std::istringstream lines(read_text(folder / run / "log.jsonl"));
    std::vector<double> values;
    for (std::string line; std::getline(lines, line);)
      if (const json entry = json::parse(line); entry.contains(name)) values.push_back(entry.at(name));
    return values;
  }

  void expect_same(const std::string& a, const std::string& b, const std::string& name) const {
    const std::vector<double> first = measures(a, name), second = measures(b, name);
    ASSERT_EQ(first.size(), second.size());
    ASSERT_FALSE(first.empty());
    for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(first[i], second[i], 1e-3 * std::abs(first[i])) << i;
  }

  TemporaryFolder folder;
};

TEST_F(StandInTraining, ALanguageModel) {
  std::string text;
  while (text.size() < 4000) text += "the quick brown fox ";
  std::ofstream(folder / "text.txt") << text;
  const json own = {{"text", {(folder / "text.txt").string()}},
                    {"batch", 2},
                    {"model",
                     {{"heads", 2},
                      {"head_dim", 4},
                      {"layers", 1},
                      {"hidden", 16},
                      {"length", 16},
                      {"attention", {{"kind", "mhla"}, {"chunk", 4}, {"gated", true}, {"kernel_size", 3}}}}}};
  const std::string here = write("cpu.json", merged(run_keys("cpu", 3), own));
  ASSERT_EQ(tessera({"train", "language", "--config", here}).exit_code, 0);
  const StandInRun run = train("language", write("gpu.json", merged(run_keys("gpu", 3), own)));
  EXPECT_GT(run.of("launches"), 0);
  expect_same("cpu", "gpu", "bits");
}

TEST_F(StandInTraining, AClassifier) {
  const json own = {{"data", "scenes"},
                    {"batch", 4},
                    {"scenes", 12},
                    {"held_out_scenes", 4},
                    {"model",
                     {{"image", 16},
                      {"patch", 4},
                      {"channels", 8},
                      {"heads", 2},
                      {"depth", 1},
                      {"hidden", 16},
                      {"attention", {{"kind", "focused"}, {"kernel_size", 0}}}}}};
  ASSERT_EQ(tessera({"train", "classifier", "--config", write("cpu.json", merged(run_keys("cpu", 3), own))}).exit_code,
            0);
  train("classifier", write("gpu.json", merged(run_keys("gpu", 3), own)));
  expect_same("cpu", "gpu", "loss");
}

TEST_F(StandInTraining, AnAutoencoderAndADenoiser) {
  const json autoencoder = {{"model",
                             {{"base_dim", 8},
                              {"z_dim", 4},
                              {"dim_mult", {1, 2}},
                              {"num_res_blocks", 1},
                              {"temperal_downsample", {true}},
                              {"in_channels", 12},
                              {"out_channels", 12},
                              {"patch_size", 2}}},
                            {"side", 32},
                            {"frames", 5},
                            {"crop", 16},
                            {"stills_part", 0.5},
                            {"still_batch", 2},
                            {"clip_batch", 1}};
  train("vae", write("vae.json", merged(run_keys("vae", 2), autoencoder)));
  const json denoiser = {
      {"vae", (folder / "vae_out").string()},
      {"side", 32},
      {"frames", 5},
      {"stills", 4},
      {"clips", 2},
      {"image_batch", 2},
      {"video_batch", 1},
      {"videos_from", 0.3},
      {"sample_steps", 2},
      {"text_encoder", {{"d_model", 16}, {"d_kv", 8}, {"d_ff", 16}, {"num_layers", 1}, {"num_heads", 2}}},
      {"transformer",
       {{"num_attention_heads", 2},
        {"attention_head_dim", 12},
        {"in_channels", 4},
        {"text_dim", 16},
        {"freq_dim", 16},
        {"ffn_dim", 32},
        {"num_layers", 2},
        {"attention", {{"kind", "mhla"}, {"block_layout", {3, 2, 2}}, {"lepe", true}}},
        {"position_embedding", {3, 4, 4}}}},
      {"generation_defaults", {{"width", 32}, {"height", 32}, {"frames", 5}}}};
  ASSERT_EQ(tessera({"train", "denoiser", "--config", write("d.json", merged(run_keys("cpu", 3), denoiser))}).exit_code,
            0);
  train("denoiser", write("denoiser.json", merged(run_keys("gpu", 3), denoiser)));
  expect_same("cpu", "gpu", "norm");
}

TEST_F(StandInTraining, TuningOnOnesOwnPictures) {
  const std::string model = (fixture_folder() / "wan_pipeline" / "pipeline").string(),
                    cache = (folder / "cache").string();
  for (const auto& [name, level] : {std::pair{"a", 40}, std::pair{"b", 200}}) {
    write_bytes(folder / "set" / (std::string(name) + ".pgm"),
                "P5\n32 32\n255\n" + std::string(1024, static_cast<char>(level)));
    write_bytes(folder / "set" / (std::string(name) + ".txt"), name);
  }
  done_on_stand_in({"train", "prepare", (folder / "set").string(), "--cache", cache, "-m", model, "--width", "32",
                    "--height", "32", "--dtype", "fp32", "-q", "--device", "cuda"});
  const json own = {{"model", model}, {"cache", cache}, {"learning_rate", 1e-3}, {"batch", 1}};
  for (const char* method : {"lora", "full"}) {
    const std::string here = std::string(method) + "_cpu", there = std::string(method) + "_gpu";
    json cpu = merged(run_keys(here, 2), own), gpu = merged(run_keys(there, 2), own);
    if (std::string(method) == "lora") {
      cpu["output"] = (folder / "cpu.safetensors").string();
      gpu["output"] = (folder / "gpu.safetensors").string();
    }
    const ProcessResult on_cpu = tessera({"train", method, "--config", write(here + ".json", cpu)});
    ASSERT_EQ(on_cpu.exit_code, 0) << on_cpu.err;
    train(method, write(there + ".json", gpu));
    expect_same(here, there, "loss");
  }
  const json stage = {{"steps", 2}, {"batch", 1}, {"log_every", 1}, {"warmup", 0.0}, {"sheet_minutes", 1000}};
  const json linearize = {{"model", model},
                          {"cache", cache},
                          {"run", (folder / "linear").string()},
                          {"output", (folder / "linear_out").string()},
                          {"dtype", "fp32"},
                          {"attention", {{"kind", "mhla"}, {"block_layout", {1, 1, 1}}}},
                          {"stage1", stage},
                          {"stage2", stage}};
  train("linearize", write("linear.json", linearize));
}

}  // namespace
}  // namespace tessera::test
