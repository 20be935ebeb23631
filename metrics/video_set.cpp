#include "metrics/video_set.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "media/file_types.h"
#include "media/media_files.h"
#include "media/picture.h"
#include "media/video_reader.h"
#include "metrics/numpy_random.h"

namespace fs = std::filesystem;

namespace tessera {
namespace {

/// The files in and below a folder, as videos and, by their folder, as frames.
std::vector<VideoSource> videos_below(const fs::path& folder, const NoteListener& note) {
  const MediaFiles media = find_media(folder, {Medium::kPicture, Medium::kVideo});
  if (note && !media.note.empty()) note(media.note);
  std::vector<VideoSource> found;
  std::map<fs::path, std::vector<fs::path>> pictures_of;
  std::set<fs::path> with_videos;
  for (const fs::path& path : media.files) {
    if (is_picture_file(path)) {
      pictures_of[path.parent_path()].push_back(path);
    } else {
      if (is_video_file(path)) with_videos.insert(path.parent_path());
      found.push_back({path, {}});  // or a folder that cannot be listed, which fails when it is read
    }
  }
  for (auto& [inner, pictures] : pictures_of) {
    if (with_videos.count(inner)) continue;
    std::sort(pictures.begin(), pictures.end());
    found.push_back({inner, std::move(pictures)});
  }
  std::sort(found.begin(), found.end(), [](const VideoSource& a, const VideoSource& b) { return a.path < b.path; });
  return found;
}

/// A number that depends on both, well mixed (the finalizer of SplitMix64).
uint64_t mix(uint64_t seed, uint64_t index) {
  uint64_t x = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

int64_t offset_of(const ClipRule& rule, int64_t index, int64_t there) {
  if (!rule.random_offset) return 0;
  NumpyRandom random(static_cast<uint32_t>(mix(rule.seed, static_cast<uint64_t>(index)) >> 32));
  return random.below_or_equal(there - rule.span() + rule.stride - 1);
}

at::Tensor join(const std::vector<at::Tensor>& frames, const VideoSource& video) {
  for (const at::Tensor& frame : frames)
    if (frame.sizes() != frames[0].sizes())
      throw Error(c10::str("the frames of ", video.path.string(), " differ in size: ", frames[0].size(1), "x",
                           frames[0].size(0), " and ", frame.size(1), "x", frame.size(0)));
  return at::stack(frames).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();  // [1, 3, T, H, W]
}

Clip read_pictures(const VideoSource& video, const ClipRule& rule, int64_t index) {
  const auto there = static_cast<int64_t>(video.pictures.size());
  if (there < rule.span()) return {{}, there};
  const int64_t offset = offset_of(rule, index, there);
  std::vector<at::Tensor> frames;
  for (int64_t i = 0; i < rule.frames; ++i)
    frames.push_back(read_picture(video.pictures[static_cast<size_t>(offset + i * rule.stride)]));
  return {join(frames, video), there};
}

}  // namespace

std::vector<VideoSource> find_videos(const fs::path& path, const NoteListener& note) {
  if (!fs::exists(path))
    throw Error("no file or folder " + path.string() + "; want a video, a folder of videos or of frames");
  if (!fs::is_directory(path)) {
    if (!is_video_file(path))
      throw Error(path.string() + ": want a video (" + extensions_read_as(Medium::kVideo) +
                  "), a folder or statistics (.npz)");
    return {{path, {}}};
  }
  std::vector<VideoSource> found = videos_below(path, note);
  if (found.empty()) throw Error(path.string() + " holds neither videos nor folders of pictures");
  return found;
}

int64_t count_frames(const VideoSource& video) {
  return video.pictures.empty() ? count_video_frames(video.path) : static_cast<int64_t>(video.pictures.size());
}

Clip read_clip(const VideoSource& video, const ClipRule& rule, int64_t index) {
  TORCH_CHECK(rule.frames >= 1 && rule.stride >= 1, "read_clip: want 1 frame and stride 1 at least, got ", rule.frames,
              " and ", rule.stride);
  if (!video.pictures.empty()) return read_pictures(video, rule, index);
  int64_t there = count_video_frames(video.path);
  while (there >= rule.span()) {
    const int64_t offset = offset_of(rule, index, there), last = offset + (rule.frames - 1) * rule.stride;
    std::vector<at::Tensor> frames;
    int64_t place = 0;
    each_frame(video.path, [&](const at::Tensor& frame) {
      if (place >= offset && (place - offset) % rule.stride == 0) frames.push_back(frame);
      return ++place <= last;
    });
    if (static_cast<int64_t>(frames.size()) == rule.frames) return {join(frames, video), there};
    there = place;  // fewer than the container told of: the true number
  }
  return {{}, there};
}

}  // namespace tessera
