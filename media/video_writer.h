#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "media/frame_writer.h"

namespace tessera {

/// Encodes frames into a video file as they come; memory does not grow with the number of frames, WebP excepted.
/// The extension chooses container and encoder (media/codecs.cpp has the table). .mp4, .mov, .mkv: H.264 at CRF 18;
/// .webm: VP9; both yuv420p, tagged and converted as BT.709 in limited range; .mp4 and .mov begin with their index
/// (faststart). .gif: a palette of 256 colors per frame; .webp: lossless RGB; .mkv with encoder "ffv1": lossless RGB.
/// yuv420p has even sides only: an odd side is padded by repeating its last row or column, never scaled. The same
/// frames give the same bytes, whatever the number of CPUs: one thread, no timestamps.
class VideoWriter : public FrameWriter {
 public:
  /// Opens encoder and file. Throws Error (usage) for an unknown extension or encoder, an encoder that the local FFmpeg
  /// lacks (naming those tried), a size beyond the encoder's limit or an unwritable path; Error (failed) for a full
  /// disk.
  VideoWriter(const std::filesystem::path& path, const OutputOptions& options);
  ~VideoWriter() override;

  void write(const at::Tensor& frame) override;
  void finish() override;
  std::string note() const override;
  /// The libav encoder in use, e.g. "libx264".
  const std::string& encoder() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
