#include "pipelines/families/wan/family.h"

#include "checkpoints/load_part.h"
#include "checkpoints/model_info.h"
#include "checkpoints/wan/layouts.h"
#include "checkpoints/wan/loras.h"
#include "checkpoints/wan/model.h"
#include "core/text.h"
#include "pipelines/families/wan/renderer.h"
#include "pipelines/families/wan/resolve.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::optional<ModelLayout> recognize(const fs::path& path, const ModelOptions&) {
  return recognize_wan_model(path);
}

nlohmann::json denoiser_config(const Component& part) {
  return part.config().json();
}

void check_denoiser(const Component& part, WeightCheck depth) {
  check_part<WanTransformer>(read_component(part), WanTransformerConfig::from_json(part.config()), depth);
}

std::set<std::string> denoiser_matrices(const Component& part) {
  return matrices_of_part<WanTransformer>(WanTransformerConfig::from_json(part.config()));
}

void describe_denoiser(const Component& part, ModelInfo& info) {
  const auto config = WanTransformerConfig::from_json(part.config());
  describe_attention(config.attention, config.num_layers, info);
}

void describe(const fs::path& path, const ModelOptions&, ModelInfo& info) {
  const WanModel model = open_wan_model(path);
  load_tokenizer(model);
  info.defaults = model_defaults(model);
  if (model.takes_image())
    info.notes.push_back(std::string(model.needs_image() ? "makes videos from a picture: --image FILE"
                                                         : "a video may begin with a picture: --image FILE") +
                         (model.needs_last_image()   ? " --last-image FILE"
                          : model.takes_last_image() ? ", and may end with one: --last-image FILE"
                                                     : ""));
  const Job& job = *info.defaults;
  const Extent3 grid{(1 + (*job.frames - 1) / model.vae.temporal_stride()) / model.transformer.patch_size[0],
                     *job.height / model.height_multiple(), *job.width / model.width_multiple()};
  info.tokens = tokens_text(grid, c10::str(*job.width, "x", *job.height, ", ", counted(*job.frames, "frame")),
                            model.transformer.attention, info);
}

void check(const fs::path& path, const ModelOptions&) {
  check_weights(open_wan_model(path));
}

LoraShelf loras(const fs::path& path) {
  return lora_shelf(open_wan_model(path));
}

std::unique_ptr<Renderer> open(const fs::path& path, const Job& like) {
  return std::make_unique<WanRenderer>(path, like);
}

}  // namespace

Family wan_family() {
  return {.name = "wan",
          .pipelines = {"WanPipeline", "WanImageToVideoPipeline"},
          .denoiser = {.classes = {"WanTransformer3DModel"},
                       .read = read_component,
                       .config = denoiser_config,
                       .check = check_denoiser,
                       .matrices = denoiser_matrices,
                       .describe = describe_denoiser},
          .recognize = recognize,
          .describe = describe,
          .check = check,
          .open = open,
          .loras = loras};
}

}  // namespace tessera
