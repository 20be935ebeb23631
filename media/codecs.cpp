#include "media/codecs.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "media/file_types.h"

namespace tessera {
namespace {

// libx264, libvpx-vp9 and gif refuse a side beyond their limit when they are opened, but libwebp_anim only at its first
// frame, after sampling; libopenh264 limits the area, when it is opened.
const std::vector<EncoderSpec> kEncoders = {
    {.name = "libx264",
     .format = AV_PIX_FMT_YUV420P,
     .options = "preset=medium:profile=high:crf=18",
     .most_side = 16384},
    {.name = "libopenh264",
     .format = AV_PIX_FMT_YUV420P,
     .options = "profile=high:allow_skip_frames=0",
     .bits_per_pixel = 0.3},
    {.name = "libvpx-vp9",
     .format = AV_PIX_FMT_YUV420P,
     .options = "crf=20:b=0:deadline=good:cpu-used=2:row-mt=0",
     .most_side = 16384},
    {.name = "ffv1", .format = AV_PIX_FMT_BGR0, .options = "level=3:slicecrc=1"},
    {.name = "gif", .format = AV_PIX_FMT_PAL8, .most_side = 65535},
    {.name = "libwebp_anim",
     .format = AV_PIX_FMT_BGRA,
     .options = "lossless=1:compression_level=4",
     .most_side = 16383},
};

const std::vector<ContainerSpec> kContainers = {
    {.muxer = "mp4",
     .options = "movflags=+faststart",
     .format = "H.264 video",
     .automatic = {"libx264", "libopenh264"}},
    // QuickTime's own comment atom ends at 65,535 bytes; the metadata keys do not.
    {.muxer = "mov",
     .options = "movflags=+faststart+use_metadata_tags",
     .format = "H.264 video",
     .automatic = {"libx264", "libopenh264"}},
    {.muxer = "matroska",
     .format = "H.264 video",
     .automatic = {"libx264", "libopenh264"},
     .on_request = {"ffv1", "libvpx-vp9"}},
    {.muxer = "webm", .format = "VP9 video", .automatic = {"libvpx-vp9"}},
    {.muxer = "gif", .options = "loop=0", .format = "animated GIF", .automatic = {"gif"}},
    {.muxer = "webp", .options = "loop=0", .format = "animated WebP", .automatic = {"libwebp_anim"}},
};

}  // namespace

const ContainerSpec& container_for(const std::filesystem::path& path) {
  const FileType* type = find_file_type(path);
  if (!type || type->written_as != Medium::kVideo)
    throw Error(path.string() + " does not have the extension of a video; use one of " +
                extensions_written_as(Medium::kVideo));
  for (const ContainerSpec& container : kContainers)
    if (container.muxer == type->muxer) return container;
  throw Error("muxer " + type->muxer + " is not in the table of containers");
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
    throw Error("encoder \"" + requested + "\" is not one for " + container.muxer + " files; use one of " +
                joined(known));
  return {requested};
}

}  // namespace tessera
