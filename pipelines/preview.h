#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace tessera {

/// What --preview asks for.
struct PreviewRequest {
  int64_t every = 0;    ///< steps from one preview to the next; 0: none
  std::string decoder;  ///< a tiny decoder's file; empty: the linear map of the model's latents
};

/// The picture [3, H, W] in [0, 1], on the CPU, of the data that a sample is predicted to become.
using LatentPainter = std::function<at::Tensor(const at::Tensor& data)>;

/// The file of an output's previews, beside it: x.preview.png for x.png and x.mp4, dir/frame.preview.png for
/// dir/frame_%04d.png.
std::filesystem::path preview_path(const std::string& output);

/// The latent frames that a preview shows: all of up to four, else four from the first to the last at equal distances.
std::vector<int64_t> preview_frames(int64_t frames);

/// Pictures [3, H, W] side by side. Throws c10::Error when there is none.
at::Tensor picture_row(const std::vector<at::Tensor>& pictures);

/// The previews of one output, in one file that every new one replaces. The file goes once the output is done, and
/// stays when the run ends before.
class Previews {
 public:
  using Note = std::function<void(const std::string&)>;

  /// Throws Error when the file cannot be written.
  Previews(const std::string& output, int64_t every, LatentPainter painter, Note note);

  /// After `done` steps. Nothing is thrown but a cancellation: a preview that fails is told once and ends previews, not
  /// the render.
  void show(int64_t done, const at::Tensor& data);
  /// The output is complete: removes the file.
  void output_done();

 private:
  std::filesystem::path path_;
  int64_t every_;
  LatentPainter painter_;
  Note note_;
  bool written_ = false, failed_ = false;
};

}  // namespace tessera
