#include "media/video_reader.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <cctype>
#include <cstring>

#include "core/error.h"
#include "media/declared_size.h"
#include "media/frame_color.h"
#include "media/libav.h"
#include "media/upright.h"

namespace tessera {
namespace {

struct CloseInput {
  void operator()(AVFormatContext* input) const { avformat_close_input(&input); }
};

/// Bits of AVFrame::decode_error_flags that say that a decoder made up pixels. A reference that is missing at the start
/// of a recording is none of them.
constexpr int kMadeUp = FF_DECODE_ERROR_CONCEALMENT_ACTIVE | FF_DECODE_ERROR_DECODE_SLICES;

class Decoder {
 public:
  Decoder(std::filesystem::path path, std::string matrix) : path_(std::move(path)), matrix_(std::move(matrix)) {
    std::error_code ignored;
    const bool regular = std::filesystem::is_regular_file(path_, ignored);
    if (std::filesystem::is_directory(path_, ignored)) fail("it is a folder, or one that cannot be listed");
    if (!regular && std::filesystem::exists(path_, ignored)) fail("it is not a regular file");
    if (regular && std::filesystem::file_size(path_, ignored) == 0) fail("the file is empty");
    AVFormatContext* opened = nullptr;
    check(avformat_open_input(&opened, ("file:" + path_.string()).c_str(), nullptr, nullptr));
    input_.reset(opened);
    check(avformat_find_stream_info(opened, nullptr));
    const AVCodec* found = nullptr;
    const int index = av_find_best_stream(opened, AVMEDIA_TYPE_VIDEO, -1, -1, &found, 0);
    if (index == AVERROR_STREAM_NOT_FOUND) fail("it has no video stream");
    check(index);
    stream_ = opened->streams[index];
    if (stream_->disposition & AV_DISPOSITION_ATTACHED_PIC) fail("it has no video stream, only a cover picture");
    codec_.reset(avcodec_alloc_context3(found));
    TORCH_CHECK(codec_ && packet_ && frame_, "out of memory for a decoder");
    check(avcodec_parameters_to_context(codec_.get(), stream_->codecpar));
    check(avcodec_open2(codec_.get(), found, nullptr));
  }

  /// Throws Error when the end of the file is missing.
  void require_whole() const {
    const auto declared = declared_size(path_);
    const uint64_t there = std::filesystem::file_size(path_);
    if (declared && *declared > there)
      fail("it is cut off: by its structure it has " + std::to_string(*declared) + " bytes, and " +
           std::to_string(there) + " are there");
  }

  /// Decodes the next frame; false after the last. Every frame has the same size when shown.
  bool advance() {
    while (true) {
      const int result = avcodec_receive_frame(codec_.get(), frame_.get());
      if (result >= 0) break;
      if (result == AVERROR_EOF) return end();
      if (result != AVERROR(EAGAIN)) check(result);
      feed();
    }
    if (!sws_isSupportedInput(static_cast<AVPixelFormat>(frame_->format)))
      fail(std::string("its pixel format ") + av_get_pix_fmt_name(static_cast<AVPixelFormat>(frame_->format)) +
           " cannot be converted to RGB");
    if (frame_->decode_error_flags & kMadeUp) fail("frame " + std::to_string(count_) + " is damaged");
    read_turn();
    const auto [width, height] =
        turn_.transpose ? std::pair{frame_->height, frame_->width} : std::pair{frame_->width, frame_->height};
    if (count_ == 0) {
      width_ = width;
      height_ = height;
    }
    if (width != width_ || height != height_)
      fail("its frame size changes from " + std::to_string(width_) + "x" + std::to_string(height_) + " to " +
           std::to_string(width) + "x" + std::to_string(height) + " at frame " + std::to_string(count_));
    ++count_;
    return true;
  }

  int64_t count() const { return count_; }

  /// The frame that was decoded last as [H, W, 3] uint8.
  at::Tensor rgb() {
    const AVFrame& frame = *frame_;
    const libav::FrameColor color = libav::color_of(frame, matrix_);
    if (!convert_ || frame.width != rgb_->width || frame.height != rgb_->height || frame.format != format_ ||
        color != color_) {
      rgb_ = libav::make_frame(frame.width, frame.height, AV_PIX_FMT_RGB24);
      convert_ = std::make_unique<libav::Converter>(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format),
                                                    AV_PIX_FMT_RGB24, color.coefficients, color.full_range);
      format_ = frame.format;
      color_ = color;
    }
    convert_->run(frame, *rgb_);
    const at::Tensor pixels = at::empty({frame.height, frame.width, 3}, at::kByte);
    const size_t row = static_cast<size_t>(frame.width) * 3;
    for (int y = 0; y < frame.height; ++y)
      std::memcpy(pixels.data_ptr<uint8_t>() + static_cast<size_t>(y) * row,
                  rgb_->data[0] + ptrdiff_t{y} * rgb_->linesize[0], row);
    return upright(pixels, turn_);
  }

  /// Of the frame that rgb() gave last.
  VideoFacts facts() const {
    return {color_.matrix, color_.source, color_.full_range, color_.hdr, turn_ != Turn{}, other_angle_};
  }

  void describe(Video& video) {
    const AVRational rate = av_guess_frame_rate(input_.get(), stream_, nullptr);
    video.fps = {rate.num, rate.den};
    video.codec = avcodec_get_name(codec_->codec_id);
    const char* format = av_get_pix_fmt_name(codec_->pix_fmt);
    video.pixel_format = format ? format : "unknown";
    for (const AVDictionary* tags : {stream_->metadata, input_->metadata})
      for (const AVDictionaryEntry* tag = nullptr; (tag = av_dict_get(tags, "", tag, AV_DICT_IGNORE_SUFFIX));) {
        std::string key = tag->key;
        std::transform(key.begin(), key.end(), key.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        video.tags[key] = tag->value;
      }
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw Error("cannot read the video " + path_.string() + ": " + reason + "; check the file");
  }

  void check(int result) const {
    if (result < 0) fail(libav::error_text(result));
  }

  void feed() {
    while (true) {
      const int result = av_read_frame(input_.get(), packet_.get());
      if (result == AVERROR_EOF) {
        check(avcodec_send_packet(codec_.get(), nullptr));
        return;
      }
      check(result);
      seconds_read_ = std::max(seconds_read_, end_of(*packet_));
      const bool ours = packet_->stream_index == stream_->index;
      const int sent = ours ? avcodec_send_packet(codec_.get(), packet_.get()) : 0;
      av_packet_unref(packet_.get());
      check(sent);
      if (ours) return;
    }
  }

  /// Where a packet ends on the container's clock.
  double end_of(const AVPacket& packet) const {
    const int64_t time = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
    if (time == AV_NOPTS_VALUE) return 0;
    return static_cast<double>(time + packet.duration) * av_q2d(input_->streams[packet.stream_index]->time_base);
  }

  /// After the last frame. The reader of Matroska ends quietly where it no longer understands the file, so what was
  /// read is held against the length that the header tells.
  bool end() const {
    if (count_ == 0) fail("it has no frames");
    const double told = static_cast<double>(input_->duration) / AV_TIME_BASE;
    const bool tells = input_->duration != AV_NOPTS_VALUE && std::strstr(input_->iformat->name, "matroska") &&
                       input_->duration_estimation_method != AVFMT_DURATION_FROM_BITRATE;
    if (tells && seconds_read_ + std::max(0.5, 0.05 * told) < told)
      fail(c10::str("it is damaged: it can be read up to second ", seconds_read_, " of ", told));
    return false;
  }

  /// By the frame's own display matrix (H.264 and HEVC may carry one, which holds for the frames that follow too), else
  /// the container's.
  void read_turn() {
    const AVFrameSideData* own = av_frame_get_side_data(frame_.get(), AV_FRAME_DATA_DISPLAYMATRIX);
    if (!own && count_ > 0) return;
    const uint8_t* matrix = own ? own->data : av_stream_get_side_data(stream_, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
    const auto turn = matrix ? turn_of(reinterpret_cast<const int32_t*>(matrix)) : Turn{};
    turn_ = turn.value_or(Turn{});
    other_angle_ = !turn;
  }

  std::filesystem::path path_;
  std::string matrix_;
  std::unique_ptr<AVFormatContext, CloseInput> input_;
  AVStream* stream_ = nullptr;
  libav::Codec codec_;
  libav::Packet packet_{av_packet_alloc()};
  libav::Frame frame_{av_frame_alloc()}, rgb_;
  std::unique_ptr<libav::Converter> convert_;
  libav::FrameColor color_;
  int format_ = AV_PIX_FMT_NONE;  // that convert_ takes
  Turn turn_;
  bool other_angle_ = false;
  int width_ = 0, height_ = 0;
  int64_t count_ = 0;
  double seconds_read_ = 0;
};

}  // namespace

const std::vector<std::string>& color_matrix_names() {
  return libav::matrix_names();
}

Video read_video(const std::filesystem::path& path, int64_t most_frames) {
  libav::quiet();
  Decoder decoder(path, "auto");
  if (most_frames == 0) decoder.require_whole();
  std::vector<at::Tensor> frames;
  while ((most_frames == 0 || decoder.count() < most_frames) && decoder.advance()) frames.push_back(decoder.rgb());
  Video video;
  video.frames = at::stack(frames);
  decoder.describe(video);
  return video;
}

VideoFacts each_frame(const std::filesystem::path& path, const std::function<bool(const at::Tensor& frame)>& use,
                      const std::string& matrix) {
  libav::quiet();
  Decoder decoder(path, matrix);
  decoder.require_whole();
  VideoFacts facts;
  while (decoder.advance()) {
    const at::Tensor frame = decoder.rgb();
    if (decoder.count() == 1) facts = decoder.facts();
    if (!use(frame)) break;
  }
  return facts;
}

int64_t count_video_frames(const std::filesystem::path& path, const std::function<bool()>& go_on) {
  libav::quiet();
  Decoder decoder(path, "auto");
  decoder.require_whole();
  while ((!go_on || go_on()) && decoder.advance()) {
  }
  return decoder.count();
}

}  // namespace tessera
