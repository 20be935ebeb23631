#pragma once

#include <fstream>

#include "tests/support/fixture.h"

namespace tessera::test {

/// Writes a pipeline directory: a model of the wan_images fixture, linked with the parts that it shares with the
/// wan_pipeline fixture.
inline void write_image_model(const std::filesystem::path& folder, const std::string& name) {
  namespace fs = std::filesystem;
  const fs::path images = fixture_folder() / "wan_images", shared = fixture_folder() / "wan_pipeline" / "pipeline";
  const auto link = [&](const fs::path& from, const char* part) { fs::create_directory_symlink(from, folder / part); };
  fs::create_directories(folder / "scheduler");
  nlohmann::json index = {{"_class_name", name == "a14b_t2v" ? "WanPipeline" : "WanImageToVideoPipeline"},
                          {"scheduler", {"diffusers", "UniPCMultistepScheduler"}},
                          {"text_encoder", {"transformers", "UMT5EncoderModel"}},
                          {"tokenizer", {"transformers", "T5Tokenizer"}},
                          {"transformer", {"diffusers", "WanTransformer3DModel"}},
                          {"vae", {"diffusers", "AutoencoderKLWan"}},
                          {"expand_timesteps", name == "ti2v"}};
  link(shared / "text_encoder", "text_encoder");
  link(shared / "tokenizer", "tokenizer");
  link(name == "ti2v" ? images / name / "vae" : shared / "vae", "vae");
  link(images / name / "transformer", "transformer");
  if (name == "i2v" || name == "flf2v") {
    link(images / "image_encoder", "image_encoder");
    index["image_encoder"] = {"transformers", "CLIPVisionModel"};
    index["image_processor"] = {"transformers", "CLIPImageProcessor"};
    fs::create_directories(folder / "image_processor");
    std::ofstream(folder / "image_processor" / "preprocessor_config.json")
        << R"({"image_processor_type": "CLIPImageProcessor"})";
  }
  if (name.starts_with("a14b")) {
    link(images / name / "transformer_2", "transformer_2");
    index["transformer_2"] = {"diffusers", "WanTransformer3DModel"};
    index["boundary_ratio"] = name == "a14b_t2v" ? 0.875 : 0.9;
  }
  std::ofstream(folder / "model_index.json") << index.dump(2);
  std::ofstream(folder / "scheduler" / "scheduler_config.json")
      << R"({"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": true,
             "num_train_timesteps": 1000, "solver_order": 2, "flow_shift": 5.0})";
}

}  // namespace tessera::test
