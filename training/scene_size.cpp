#include "training/scene_size.h"

#include <ATen/core/Tensor.h>

#include <set>

#include "training/run.h"

namespace tessera {

std::string SceneSize::text() const {
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  return video() ? size + ", " + std::to_string(frames) + " frames" : size;
}

std::string SceneSize::file() const {
  return "latents_" + std::to_string(width) + "x" + std::to_string(height) + "x" + std::to_string(frames) +
         ".safetensors";
}

std::vector<SceneSize> read_scene_sizes(const JsonConfig& json, const std::string& key) {
  const nlohmann::json& list = json.json().at(key);
  if (!list.is_array() || list.empty()) json.fail(key, "must be a list of sizes");
  std::vector<SceneSize> sizes;
  std::set<std::string> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonConfig entry(list[i], json.where() + ": " + key + "[" + std::to_string(i) + "]");
    entry.reject_unknown({"width", "height", "frames", "count", "batch", "share"});
    SceneSize size;
    size.width = at_least(entry, "width", size.width, 16);
    size.height = at_least(entry, "height", size.height, 16);
    size.frames = at_least(entry, "frames", size.frames, 1);
    size.count = at_least(entry, "count", entry.integer("count"), 1);
    size.batch = at_least(entry, "batch", entry.integer("batch"), 1);
    size.share = entry.number("share", size.share);
    if (!(size.share > 0)) entry.fail("share", "must be positive");
    if (!seen.insert(size.file()).second) entry.fail("width", "makes a size that is listed twice, " + size.text());
    sizes.push_back(size);
  }
  return sizes;
}

size_t choose_scene_size(const std::vector<SceneSize>& sizes, bool video, double draw) {
  double total = 0;
  for (const SceneSize& size : sizes)
    if (size.video() == video) total += size.share;
  TORCH_CHECK(total > 0, "choose_scene_size: no ", video ? "clips" : "stills", " among the sizes");
  size_t last = 0;
  double reached = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i].video() != video) continue;
    last = i;
    reached += sizes[i].share / total;
    if (draw < reached) break;
  }
  return last;
}

void check_scene_sizes(const std::vector<SceneSize>& sizes, int64_t space, int64_t time, const std::string& where) {
  for (const SceneSize& size : sizes) {
    if (size.width % space != 0 || size.height % space != 0)
      throw Error(where + ": a scene of " + size.text() + " does not fit this autoencoder and patch size; want width " +
                  "and height to be multiples of " + std::to_string(space));
    if ((size.frames - 1) % time != 0)
      throw Error(where + ": a scene of " + size.text() + " does not fit this autoencoder; want 1 + a multiple of " +
                  std::to_string(time) + " frames");
  }
}

}  // namespace tessera
