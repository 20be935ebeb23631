#include "media/frame_writer.h"

#include <cctype>
#include <string_view>

#include "core/atomic_file.h"
#include "core/error.h"
#include "media/file_types.h"
#include "media/image_io.h"
#include "media/video_writer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNumber = 4;  // characters of %0Nd

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_number_at(const std::string& name, size_t at) {
  return name.size() >= at + kNumber && name[at + 1] == '0' && name[at + 2] >= '1' && name[at + 2] <= '9' &&
         name[at + 3] == 'd';
}

/// Whether the % at `at` begins what other programs take for a number: %d, %4d, %010d, %i, %u.
bool resembles_number(const std::string& name, size_t at) {
  size_t end = at + 1;
  while (end < name.size() && is_digit(name[end])) ++end;
  const bool stands_alone = end + 1 >= name.size() || !std::isalpha(static_cast<unsigned char>(name[end + 1]));
  return end < name.size() && std::string_view("diu").find(name[end]) != std::string_view::npos && stands_alone;
}

/// Position of the one %0Nd in a file name; npos when there is none. Throws Error for several, and for what is
/// probably meant as one.
size_t pattern_at(const fs::path& path) {
  const std::string name = path.filename().string();
  size_t found = std::string::npos;
  for (size_t at = name.find('%'); at != std::string::npos; at = name.find('%', at + 1)) {
    if (at + 1 < name.size() && name[at + 1] == '%') {
      ++at;
    } else if (is_number_at(name, at)) {
      if (found != std::string::npos)
        throw Error("bad frame pattern " + path.string() +
                    ": the file name has two numbers; keep one %0Nd, and write %% for a % that is none");
      found = at;
    } else if (resembles_number(name, at)) {
      throw Error("bad frame pattern " + path.string() +
                  ": a frame's number is %0Nd with N from 1 to 9, as in frame_%04d.png; write %% for a % that is none");
    }
  }
  return found;
}

/// A part of a file name without a number, with each %% as %.
std::string without_escapes(const std::string& part) {
  std::string out;
  for (size_t i = 0; i < part.size(); ++i) {
    out += part[i];
    if (part.compare(i, 2, "%%") == 0) ++i;
  }
  return out;
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

fs::path single_file(const fs::path& path) {
  if (output_kind(path) == OutputKind::kFrames) return path;
  return path.parent_path() / without_escapes(path.filename().string());
}

std::string literal_name(const std::string& name) {
  std::string out;
  for (const char c : name) out += c == '%' ? std::string("%%") : std::string(1, c);
  return out;
}

std::string check_frame_rate(const fs::path& path, const FrameRate& rate) {
  const FileType* type = find_file_type(path);
  if (!type || type->written_as != Medium::kVideo) return "";
  const std::string asked = frame_rate_text(rate) + " frames per second";
  const auto beyond = [&](int64_t limit) { return limit > 0 && rate.value() > static_cast<double>(limit); };
  if (beyond(type->most_fps))
    throw Error("a " + type->extension + " file cannot hold " + asked + ", at most " + std::to_string(type->most_fps) +
                "; lower --fps or choose .mp4");
  if (!beyond(type->smooth_fps)) return "";
  return "most players show a " + type->extension + " file of " + asked + " much slower; up to " +
         std::to_string(type->smooth_fps) + " they keep the time, or choose .mp4";
}

fs::path frame_path(const fs::path& pattern, int64_t index) {
  const std::string name = pattern.filename().string();
  const size_t at = pattern_at(pattern);
  TORCH_CHECK(at != std::string::npos, "no %0Nd in ", pattern.string());
  std::string digits = std::to_string(index);
  const auto width = static_cast<size_t>(name[at + 2] - '0');
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return pattern.parent_path() /
         (without_escapes(name.substr(0, at)) + digits + without_escapes(name.substr(at + kNumber)));
}

std::unique_ptr<FrameWriter> open_frame_writer(const fs::path& path, const OutputOptions& options) {
  switch (output_kind(path)) {
    case OutputKind::kImage:
      return std::make_unique<ImageWriter>(single_file(path), options);
    case OutputKind::kFrames:
      return std::make_unique<SequenceWriter>(path, options);
    case OutputKind::kVideo:
      break;
  }
  check_frame_rate(path, options.fps);
  return std::make_unique<VideoWriter>(single_file(path), options);
}

}  // namespace tessera
