#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "training/buckets.h"
#include "training/data_items.h"

namespace tessera {

/// The frames of one item: a picture has one.
class ItemFrames {
 public:
  /// `scratch` is a folder for a video of an archive while it is read. Throws Error when the item cannot be read.
  ItemFrames(const DataItem& item, const std::filesystem::path& scratch);
  ItemFrames(const ItemFrames&) = delete;
  ItemFrames& operator=(const ItemFrames&) = delete;

  /// SHA-256 of the item's bytes: of the file, of the archive's member, of a folder's pictures in order.
  const std::string& hash() const { return hash_; }
  FrameSize size() const { return size_; }
  /// Of a video file; what a folder of frames was given for frames of one.
  const FrameRate& rate() const { return rate_; }
  /// How many frames it has, all of them decoded. Throws Error where one is damaged.
  int64_t count() const;
  /// Hands over each frame [H, W, 3] uint8 until `use` returns false; all of one size. Throws Error naming the item.
  void each(const std::function<bool(const at::Tensor& frame)>& use) const;

 private:
  const DataItem& item_;
  std::string hash_, bytes_;                   // bytes_: of a picture in an archive
  std::filesystem::path file_;                 // of a video, or of a picture outside of archives
  std::vector<std::filesystem::path> frames_;  // of a folder
  struct Scratch {
    std::filesystem::path path;
    ~Scratch();
  };
  Scratch scratch_;  // removed at the end
  FrameSize size_;
  FrameRate rate_{0, 1};  // 0: unknown, taken for the rate that is wanted
};

}  // namespace tessera
