#include "training/scene_files.h"

#include <ATen/ATen.h>

#include <cstdio>

#include "core/atomic_file.h"
#include "core/cancel.h"
#include "media/image_io.h"
#include "media/video_writer.h"
#include "training/captions.h"
#include "training/export.h"
#include "training/scenes.h"

namespace tessera {
namespace {

std::string numbered(const char* name, int64_t number) {
  char text[64];
  std::snprintf(text, sizeof text, "%s_%04lld", name, static_cast<long long>(number));
  return text;
}

void write_clip(const std::filesystem::path& file, const at::Tensor& frames, int64_t fps) {
  OutputOptions options;
  options.width = frames.size(3);
  options.height = frames.size(2);
  options.fps = {fps, 1};
  options.encoder = "ffv1";
  VideoWriter writer(file, options);
  for (const at::Tensor& frame : frames.unbind(1)) writer.write(frame);
  writer.finish();
}

}  // namespace

void write_scene_files(const SceneFilesPlan& plan) {
  make_folder(plan.folder);
  const SceneRenderer renderer;
  for (const bool video : {true, false})
    for (int64_t i = 0; i < (video ? plan.clips : plan.stills); ++i) {
      throw_if_canceled();
      const Scene scene = sample_scene(plan.seed, static_cast<uint64_t>(i), video);
      const at::Tensor frames = renderer.clip(scene, video ? plan.frames : 1, plan.side, plan.side) * 0.5 + 0.5;
      const std::filesystem::path file = plan.folder / numbered(video ? "clip" : "still", i);
      if (video)
        write_clip(file.string() + ".mkv", frames, plan.fps);
      else
        write_png(file.string() + ".png", frames.select(1, 0));
      write_file_atomically(file.string() + ".txt", caption(scene, i % caption_wordings()) + "\n");
    }
}

}  // namespace tessera
