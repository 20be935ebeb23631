#include "training/item_frames.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/natural_order.h"
#include "core/sha256.h"
#include "core/visible_files.h"
#include "media/file_types.h"
#include "media/picture.h"
#include "media/video_reader.h"
#include "training/archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::path& file : scan_folder(folder).files)
    if (is_picture_file(file)) files.push_back(file);
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return natural_less(a.string(), b.string()); });
  if (files.empty()) throw Error(folder.string() + ": is a folder without pictures; want the frames of a video");
  return files;
}

FrameSize size_of(const at::Tensor& frame) {
  return {frame.size(1), frame.size(0)};
}

}  // namespace

ItemFrames::ItemFrames(const DataItem& item, const fs::path& scratch) : item_(item), file_(item.path) {
  Sha256 hash;
  if (item.frame_folder) {
    frames_ = pictures_in(item.path);
    for (const fs::path& frame : frames_) hash.update_file(frame);
  } else if (item.member.empty()) {
    hash.update_file(item.path);
  } else {
    bytes_ = Archive(item.path).bytes(item.member);
    hash.update(bytes_);
  }
  hash_ = hash.hex();
  if (item.medium == Medium::kVideo && !item.frame_folder) {
    if (!item.member.empty()) {
      file_ = scratch / (".video." + std::to_string(getpid()) + lower_extension(item.member));
      scratch_.path = file_;
      write_file_atomically(file_, bytes_);
      bytes_.clear();
    }
    const Video first = read_video(file_, 1);
    size_ = {first.frames.size(2), first.frames.size(1)};
    rate_ = first.fps;
    return;
  }
  each([&](const at::Tensor& frame) {
    size_ = size_of(frame);
    return false;
  });
}

ItemFrames::Scratch::~Scratch() {
  std::error_code ignored;
  if (!path.empty()) fs::remove(path, ignored);
}

int64_t ItemFrames::count() const {
  if (item_.frame_folder) return static_cast<int64_t>(frames_.size());
  return item_.medium == Medium::kVideo ? count_video_frames(file_) : 1;
}

void ItemFrames::each(const std::function<bool(const at::Tensor& frame)>& use) const {
  if (item_.frame_folder) {
    for (const fs::path& path : frames_) {
      const at::Tensor frame = read_picture(path);
      if (size_.width > 0 && !(size_of(frame) == size_))
        throw Error(path.string() + ": has another size than the first frame of its video; want all alike");
      if (!use(frame)) return;
    }
  } else if (item_.medium == Medium::kVideo) {
    each_frame(file_, use);
  } else {
    use(item_.member.empty() ? read_picture(file_) : decode_picture(bytes_, item_.name));
  }
}

}  // namespace tessera
