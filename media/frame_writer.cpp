#include "media/frame_writer.h"

#include "core/atomic_file.h"
#include "core/error.h"
#include "media/file_types.h"
#include "media/image_io.h"
#include "media/video_writer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// Position of the one %0Nd in a file name; npos when there is no % at all. Throws Error for any other %.
size_t pattern_at(const fs::path& path) {
  const std::string name = path.filename().string();
  const size_t at = name.find('%');
  if (at == std::string::npos) return at;
  const bool good = name.size() > at + 3 && name[at + 1] == '0' && name[at + 2] >= '1' && name[at + 2] <= '9' &&
                    name[at + 3] == 'd' && name.find('%', at + 1) == std::string::npos;
  if (!good)
    throw Error("bad frame pattern " + path.string() +
                ": the file name needs exactly one %0Nd and no other %, as in frame_%04d.png");
  return at;
}

void check_size(const at::Tensor& bytes, const OutputOptions& options) {
  TORCH_CHECK(bytes.size(0) == options.height && bytes.size(1) == options.width, "frame is ", bytes.size(1), "x",
              bytes.size(0), ", the output ", options.width, "x", options.height);
}

class ImageWriter : public FrameWriter {
 public:
  ImageWriter(fs::path path, OutputOptions options) : path_(std::move(path)), options_(std::move(options)) {
    check_picture_size(path_, options_.width, options_.height);
    check_writable(path_);
  }

  void write(const at::Tensor& frame) override {
    if (frame_.defined())
      throw Error(path_.string() + " holds one image; write frames to a pattern such as frame_%04d.png, or a video");
    frame_ = to_bytes(frame);
    check_size(frame_, options_);
  }

  void finish() override {
    TORCH_CHECK(frame_.defined(), "no image was written to ", path_.string());
    write_picture(path_, frame_, options_.text);
  }

 private:
  fs::path path_;
  OutputOptions options_;
  at::Tensor frame_;
};

class SequenceWriter : public FrameWriter {
 public:
  SequenceWriter(fs::path pattern, OutputOptions options) : pattern_(std::move(pattern)), options_(std::move(options)) {
    check_picture_size(pattern_, options_.width, options_.height);
    std::error_code failed;
    if (pattern_.has_parent_path()) made_folder_ = fs::create_directory(pattern_.parent_path(), failed);
    check_writable(frame_path(pattern_, 0));
  }

  ~SequenceWriter() override {
    std::error_code ignored;
    if (made_folder_ && count_ == 0) fs::remove(pattern_.parent_path(), ignored);
  }

  void write(const at::Tensor& frame) override {
    const at::Tensor bytes = to_bytes(frame);
    check_size(bytes, options_);
    write_picture(frame_path(pattern_, count_), bytes, options_.text);
    ++count_;
  }

  void finish() override { TORCH_CHECK(count_ > 0, "no frame was written to ", pattern_.string()); }

 private:
  fs::path pattern_;
  OutputOptions options_;
  bool made_folder_ = false;
  int64_t count_ = 0;
};

}  // namespace

OutputKind output_kind(const fs::path& path) {
  const FileType* type = find_file_type(path);
  if (!type || type->written_as == Medium::kNone)
    throw Error("cannot tell the format of " + path.string() + ": its name must end in " +
                extensions_written_as(Medium::kPicture) + ", " + extensions_written_as(Medium::kVideo));
  if (type->written_as == Medium::kVideo) return OutputKind::kVideo;
  return pattern_at(path) == std::string::npos ? OutputKind::kImage : OutputKind::kFrames;
}

fs::path frame_path(const fs::path& pattern, int64_t index) {
  std::string name = pattern.filename().string();
  const size_t at = pattern_at(pattern);
  TORCH_CHECK(at != std::string::npos, "no %0Nd in ", pattern.string());
  std::string digits = std::to_string(index);
  const auto width = static_cast<size_t>(name[at + 2] - '0');
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return pattern.parent_path() / name.replace(at, 4, digits);
}

std::unique_ptr<FrameWriter> open_frame_writer(const fs::path& path, const OutputOptions& options) {
  switch (output_kind(path)) {
    case OutputKind::kImage:
      return std::make_unique<ImageWriter>(path, options);
    case OutputKind::kFrames:
      return std::make_unique<SequenceWriter>(path, options);
    case OutputKind::kVideo:
      break;
  }
  return std::make_unique<VideoWriter>(path, options);
}

}  // namespace tessera
