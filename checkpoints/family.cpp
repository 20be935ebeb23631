#include "checkpoints/family.h"

#include <algorithm>

#include "checkpoints/component.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "weights/foreign_file.h"

namespace tessera {
namespace {

void refuse_options(const std::filesystem::path& path, const ModelOptions& options) {
  if (!options.vae.empty() || options.block_size)
    throw Error(path.string() + " is not a class-conditional model (DiT): --vae and --block-size do not apply");
}

std::optional<RecognizedModel> find_family(const std::filesystem::path& path, Families families,
                                           const ModelOptions& options) {
  for (const Family& family : families)
    if (auto layout = family.recognize(path, options))
      return RecognizedModel{.layout = *std::move(layout), .family = &family};
  return std::nullopt;
}

}  // namespace

void refuse_foreign_file(const std::filesystem::path& path) {
  const std::string found = foreign_tensors(read_tensors(path));
  if (!found.empty()) throw Error(path.string() + " is not a model: " + found);
}

const Denoiser* find_denoiser(const std::string& class_name, Families families) {
  for (const Family& family : families) {
    const auto& classes = family.denoiser.classes;
    if (std::find(classes.begin(), classes.end(), class_name) != classes.end()) return &family.denoiser;
  }
  return nullptr;
}

RecognizedModel recognize_pipeline(const std::filesystem::path& path, Families families, const ModelOptions& options) {
  if (auto found = find_family(path, families, options)) return *std::move(found);
  if (is_file(path)) refuse_foreign_file(path);
  return {{"diffusers", open_model_dir(path), {}}, nullptr};
}

const Family& family_of(const std::filesystem::path& path, Families families, const ModelOptions& options) {
  const RecognizedModel model = recognize_pipeline(path, families, options);
  if (!model.family)
    throw Error(model.layout.model.index.where() + ": class " + model.layout.model.class_name +
                " is not supported; want " +
                joined(families, " or ", [](const Family& family) { return joined(family.pipelines, " or "); }));
  require_fit(model.layout, families);
  return *model.family;
}

RecognizedModel recognize_model(const std::filesystem::path& path, Families families, const ModelOptions& options) {
  auto found = find_family(path, families, options);
  if (!found || !found->family->takes_options) refuse_options(path, options);
  if (found) return *std::move(found);
  if (auto component = recognize_component(path)) return {*std::move(component), nullptr};
  if (is_file(path)) {
    refuse_foreign_file(path);
    throw Error(
        path.string() +
        " is not a known network by its tensor names: want a transformer of Wan or DiT, an autoencoder of "
        "Wan or Stable Diffusion, a UMT5 encoder, or MHLA's or FLatten's DeiT; tessera info --tensors lists them");
  }
  return {{"diffusers", open_model_dir(path), {}}, nullptr};
}

}  // namespace tessera
