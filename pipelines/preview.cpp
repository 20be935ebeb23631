#include "pipelines/preview.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/profile.h"
#include "media/frame_writer.h"
#include "media/image_io.h"

namespace tessera {
namespace {

constexpr int64_t kMostFrames = 4;

/// The name of a pattern without the number of the frame and what sets it off: frame_%04d -> frame.
std::string without_number(std::string stem) {
  const size_t number = stem.find('%');
  if (number != std::string::npos) stem.erase(number, stem.find('d', number) - number + 1);
  while (!stem.empty() && (stem.back() == '_' || stem.back() == '-' || stem.back() == '.')) stem.pop_back();
  return stem;
}

}  // namespace

std::filesystem::path preview_path(const std::string& output) {
  const bool frames = output_kind(output) == OutputKind::kFrames;
  const std::filesystem::path file = frames ? std::filesystem::path(output) : single_file(output);
  const std::string stem = frames ? without_number(file.stem().string()) : file.stem().string();
  return file.parent_path() / (stem.empty() ? "preview.png" : stem + ".preview.png");
}

std::vector<int64_t> preview_frames(int64_t frames) {
  std::vector<int64_t> out;
  const int64_t count = std::min(frames, kMostFrames);
  for (int64_t i = 0; i < count; ++i)
    out.push_back(count == 1 ? 0 : (i * (frames - 1) + (count - 1) / 2) / (count - 1));
  return out;
}

at::Tensor picture_row(const std::vector<at::Tensor>& pictures) {
  return at::cat(pictures, 2);
}

Previews::Previews(const std::string& output, int64_t every, LatentPainter painter, Note note)
    : path_(preview_path(output)), every_(every), painter_(std::move(painter)), note_(std::move(note)) {
  check_writable(path_);
}

void Previews::show(int64_t done, const at::Tensor& data) {
  if (failed_ || every_ < 1 || done % every_ != 0) return;
  const auto stop = [&](const std::string& why) {
    failed_ = true;
    note_("no more previews: " + why);
  };
  const ProfileScope scope("previews");
  try {
    write_png(path_, painter_(data));
    written_ = true;
  } catch (const Error& error) {
    if (error.is_cancellation()) throw;
    stop(error.what());
  } catch (const c10::Error& error) {
    stop(error.what_without_backtrace());
  }
}

void Previews::output_done() {
  std::error_code ignored;
  if (written_) std::filesystem::remove(path_, ignored);
}

}  // namespace tessera
