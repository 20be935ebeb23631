#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>

#include "core/frame_rate.h"
#include "media/png_text.h"

namespace tessera {

/// What a path asks for: x.png or x.jpg is one image, dir/frame_%04d.png is every frame, x.mp4 and its like is a video.
enum class OutputKind { kImage, kFrames, kVideo };

/// The kind of an output path. In a file name %% stands for a %, and in that of a picture %0Nd (N from 1 to 9) for a
/// frame's number; any other % is itself. Throws Error for an unknown extension, and in a picture for several numbers
/// and for what is probably meant as one (%d, %4d).
OutputKind output_kind(const std::filesystem::path& path);

/// The file that an output path of one image or a video names, with each %% as %. A pattern stays as it is.
std::filesystem::path single_file(const std::filesystem::path& path);

/// A file name as part of an output path that names exactly it: each % doubled.
std::string literal_name(const std::string& name);

/// Throws Error when a video format cannot hold so many frames per second. Returns a line for the user when players
/// will show them slower than asked, else "".
std::string check_frame_rate(const std::filesystem::path& path, const FrameRate& rate);

/// What an output is made with, whatever its kind.
struct OutputOptions {
  int64_t width = 0, height = 0;  ///< pixels of every frame
  FrameRate fps;                  ///< videos
  ImageText text;                 ///< of pictures: PNG text chunks, EXIF and comments of a JPEG
  std::string comment;            ///< the video's `comment` tag, UTF-8; GIF and WebP carry none
  std::string encoder;            ///< libav encoder by name; empty takes the first that works
};

/// Takes frames one at a time; a file appears under its name complete or not at all.
class FrameWriter {
 public:
  virtual ~FrameWriter() = default;
  /// The next frame: [3, H, W] or [H, W, 3] of the options' size, as to_bytes (media/image_io.h) takes it.
  virtual void write(const at::Tensor& frame) = 0;
  /// Completes the output; without it a video or image never appears. Call once, after at least one frame.
  virtual void finish() = 0;
  /// A line for the user, e.g. that a fallback encoder is in use; empty when there is nothing to report.
  virtual std::string note() const { return ""; }
};

/// Opens the writer for output_kind(path). What can be checked before the first frame is checked here: names, sizes,
/// folders that are unwritable or full, missing encoders; so open it before hours of sampling.
std::unique_ptr<FrameWriter> open_frame_writer(const std::filesystem::path& path, const OutputOptions& options);

/// The path of frame `index` of a pattern such as dir/frame_%04d.png.
std::filesystem::path frame_path(const std::filesystem::path& pattern, int64_t index);

}  // namespace tessera
