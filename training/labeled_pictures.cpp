#include "training/labeled_pictures.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/cancel.h"
#include "core/error.h"
#include "media/media_files.h"
#include "media/picture.h"
#include "models/vit/input.h"

namespace tessera {
namespace {

constexpr uint64_t kLabeledSeed = 66001, kHeldOutSeed = 66002;

std::vector<std::filesystem::path> folders_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> out;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem))
    if (entry.is_directory() && !entry.path().filename().string().starts_with(".")) out.push_back(entry.path());
  if (problem) throw Error(folder.string() + ": cannot list this folder: " + problem.message());
  std::sort(out.begin(), out.end());
  return out;
}

LabeledPictures collected(const std::vector<at::Tensor>& pixels, const std::vector<int64_t>& labels,
                          const std::vector<std::string>& names) {
  return {at::cat(pixels), at::tensor(labels, at::kLong), names};
}

LabeledPictures render_scenes(const SceneRenderer& renderer, uint64_t seed, int64_t side, int64_t count) {
  std::vector<at::Tensor> pixels;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    throw_if_canceled();
    const auto index = static_cast<uint64_t>(i);
    CounterRng rng(seed, index);
    Scene scene = sample_scene(seed, index, rng.below(2) == 0);
    scene.middle = scene.at(rng.uniform());
    scene.motion = Motion::kStill;
    const at::Tensor frame = renderer.clip(scene, 1, side, side);  // [3, 1, S, S]
    pixels.push_back(((frame + 1) * 127.5).round().clamp(0, 255).to(at::kByte).transpose(0, 1));
    labels.push_back(scene.shape);
  }
  return collected(pixels, labels, shape_names());
}

}  // namespace

LabeledPictures LabeledPictures::rows(const at::Tensor& rows) const {
  return {pixels.index_select(0, rows), labels.index_select(0, rows), names};
}

SplitPictures read_labeled_folder(const std::filesystem::path& folder, int64_t side, int64_t held_out_every) {
  const auto classes = folders_of(folder);
  if (classes.size() < 2)
    throw Error(folder.string() + ": want a folder of pictures for each of two or more classes, found " +
                std::to_string(classes.size()));
  std::vector<std::string> names;
  std::vector<at::Tensor> pixels, held_pixels;
  std::vector<int64_t> labels, held_labels;
  for (size_t label = 0; label < classes.size(); ++label) {
    names.push_back(classes[label].filename().string());
    const auto files = find_media(classes[label], {Medium::kPicture}).files;
    if (static_cast<int64_t>(files.size()) < held_out_every)
      throw Error(classes[label].string() + ": has " + std::to_string(files.size()) + " pictures; want at least " +
                  std::to_string(held_out_every) + ", of which one is held out");
    for (size_t i = 0; i < files.size(); ++i) {
      throw_if_canceled();
      const bool held = static_cast<int64_t>(i) % held_out_every == held_out_every - 1;
      (held ? held_pixels : pixels).push_back(classifier_square(read_picture(files[i]), side).to(at::kByte));
      (held ? held_labels : labels).push_back(static_cast<int64_t>(label));
    }
  }
  return {collected(pixels, labels, names), collected(held_pixels, held_labels, names)};
}

SplitPictures render_labeled_scenes(const SceneRenderer& renderer, int64_t side, int64_t training, int64_t held_out) {
  return {render_scenes(renderer, kLabeledSeed, side, training), render_scenes(renderer, kHeldOutSeed, side, held_out)};
}

at::Tensor augmented(const at::Tensor& images, const Augmentation& augmentation, CounterRng& rng) {
  std::vector<double> rows;  // [B, 2, 3]: where an output pixel reads, in -1..1
  for (int64_t i = 0; i < images.size(0); ++i) {
    const double angle = rng.uniform(-1, 1) * augmentation.degrees * std::numbers::pi / 180;
    const double scale = 1 + rng.uniform(-1, 1) * augmentation.scale;
    const double x = rng.uniform(-2, 2) * augmentation.shift, y = rng.uniform(-2, 2) * augmentation.shift;
    const double mirror = augmentation.flip && rng.below(2) == 0 ? -1 : 1;
    for (const double value : {mirror * std::cos(angle) / scale, -std::sin(angle) / scale, x,
                               mirror * std::sin(angle) / scale, std::cos(angle) / scale, y})
      rows.push_back(value);
  }
  const at::Tensor transforms = at::tensor(rows, at::kFloat).view({-1, 2, 3});
  const at::Tensor grid = at::affine_grid_generator(transforms, images.sizes(), /*align_corners=*/false);
  return at::grid_sampler_2d(images, grid, /*bilinear*/ 0, /*border*/ 1, /*align_corners=*/false);
}

}  // namespace tessera
