#include "pipelines/families/dit/family.h"

#include "checkpoints/dit/layout.h"
#include "checkpoints/dit/model.h"
#include "checkpoints/load_part.h"
#include "checkpoints/model_info.h"
#include "pipelines/families/dit/renderer.h"
#include "pipelines/families/dit/sampling.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// Older versions of diffusers had no class for DiT; its keys are written as today's.
nlohmann::json denoiser_config(const Component& part) {
  return DitConfig::from_json(part.config()).to_json();
}

void check_denoiser(const Component& part, WeightCheck depth) {
  check_part<Dit>(read_dit_transformer(part), DitConfig::from_json(part.config()), depth);
}

std::set<std::string> denoiser_matrices(const Component& part) {
  return matrices_of_part<Dit>(DitConfig::from_json(part.config()));
}

void describe_denoiser(const Component& part, ModelInfo& info) {
  const auto config = DitConfig::from_json(part.config());
  describe_attention(config.attention, config.num_layers, info);
}

void describe(const fs::path& path, const ModelOptions& options, ModelInfo& info) {
  const DitModel model = open_dit_model(path, options);
  info.defaults = model_defaults(model);
  const int64_t side = model.transformer.grid();
  info.tokens =
      tokens_text({1, side, side}, c10::str(model.pixels(), "x", model.pixels()), model.transformer.attention, info);
}

void check(const fs::path& path, const ModelOptions& options) {
  check_weights(open_dit_model(path, options));
}

std::unique_ptr<Renderer> open(const fs::path& path, const Job& like) {
  return std::make_unique<DitRenderer>(path, like);
}

}  // namespace

Family dit_family() {
  return {.name = "dit",
          .pipelines = {"DiTPipeline"},
          .takes_options = true,
          .denoiser = {.classes = {"DiTTransformer2DModel", "Transformer2DModel"},
                       .read = read_dit_transformer,
                       .config = denoiser_config,
                       .check = check_denoiser,
                       .matrices = denoiser_matrices,
                       .describe = describe_denoiser},
          .recognize = recognize_dit_layout,
          .describe = describe,
          .check = check,
          .open = open};
}

}  // namespace tessera
