#include "media/codecs.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"

namespace tessera {
namespace {

const std::vector<EncoderSpec> kEncoders = {
    {"libx264", AV_PIX_FMT_YUV420P, "preset=medium:profile=high:crf=18"},
    {"libopenh264", AV_PIX_FMT_YUV420P, "profile=high:allow_skip_frames=0", 0.3},
    {"libvpx-vp9", AV_PIX_FMT_YUV420P, "crf=20:b=0:deadline=good:cpu-used=2:row-mt=0"},
    {"ffv1", AV_PIX_FMT_BGR0, "level=3:slicecrc=1"},
    {"gif", AV_PIX_FMT_PAL8, ""},
    {"libwebp_anim", AV_PIX_FMT_BGRA, "lossless=1:compression_level=4"},
};

const std::vector<ContainerSpec> kContainers = {
    {".mp4", "mp4", "movflags=+faststart", "H.264 video", {"libx264", "libopenh264"}},
    // QuickTime's own comment atom ends at 65,535 bytes; the metadata keys do not.
    {".mov", "mov", "movflags=+faststart+use_metadata_tags", "H.264 video", {"libx264", "libopenh264"}},
    {".mkv", "matroska", "", "H.264 video", {"libx264", "libopenh264"}, {"ffv1", "libvpx-vp9"}},
    {".webm", "webm", "", "VP9 video", {"libvpx-vp9"}},
    {".gif", "gif", "loop=0", "animated GIF", {"gif"}},
    {".webp", "webp", "loop=0", "animated WebP", {"libwebp_anim"}},
};

std::string join(const std::vector<std::string>& names) {
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

const ContainerSpec* find_container(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const ContainerSpec& container : kContainers)
    if (container.extension == extension) return &container;
  return nullptr;
}

}  // namespace

std::string video_extensions() {
  std::vector<std::string> all;
  for (const ContainerSpec& container : kContainers) all.push_back(container.extension);
  return join(all);
}

bool is_video_extension(const std::filesystem::path& path) {
  return find_container(path) != nullptr;
}

const ContainerSpec& container_for(const std::filesystem::path& path) {
  if (const ContainerSpec* found = find_container(path)) return *found;
  throw Error(path.string() + " has no extension of a video; use one of " + video_extensions());
}

const EncoderSpec& encoder_spec(const std::string& name) {
  for (const EncoderSpec& encoder : kEncoders)
    if (encoder.name == name) return encoder;
  throw Error("encoder " + name + " is not in the table of encoders");
}

std::vector<std::string> encoder_candidates(const ContainerSpec& container, const std::string& requested) {
  if (requested.empty()) return container.automatic;
  std::vector<std::string> known = container.automatic;
  known.insert(known.end(), container.on_request.begin(), container.on_request.end());
  if (std::find(known.begin(), known.end(), requested) == known.end())
    throw Error("encoder \"" + requested + "\" is not one for " + container.extension + " files; use one of " +
                join(known));
  return {requested};
}

}  // namespace tessera
