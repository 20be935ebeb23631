#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// One file of a set: a picture, or a video, each frame of which is a picture.
struct ImageSource {
  std::filesystem::path path;
  std::string label;  ///< the first folder below the set's own, for scores by class; "" for a file in the set itself
  bool is_video = false;
  bool is_array = false;  ///< an .npz whose arr_0, uint8 [N, H, W, 3], holds pictures, as ADM and DiT write them
};

/// The pictures of a set, in the order of their paths' bytes:
/// - a folder: all pictures and videos in and below it, by their extensions (media/file_types.h); hidden files and
///   folders are skipped;
/// - a folder of `tessera batch`, or its manifest.jsonl: the outputs that the manifest says are done, in order of id;
/// - a video file: its frames; a picture: itself; an .npz of ADM: the pictures of its arr_0.
/// Throws Error naming `path` when it is not there, holds no picture, or its manifest names a file that is not there.
std::vector<ImageSource> find_images(const std::filesystem::path& path);

/// Whether `path` is an .npz that holds pictures (arr_0) and not statistics. Throws Error when such a file is damaged.
bool is_picture_array(const std::filesystem::path& path);

}  // namespace tessera
