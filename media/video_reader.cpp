#include "media/video_reader.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <cctype>
#include <cstring>

#include "core/error.h"
#include "media/libav.h"

namespace tessera {
namespace {

struct CloseInput {
  void operator()(AVFormatContext* input) const { avformat_close_input(&input); }
};

class Decoder {
 public:
  explicit Decoder(std::filesystem::path path) : path_(std::move(path)) {
    AVFormatContext* opened = nullptr;
    check(avformat_open_input(&opened, ("file:" + path_.string()).c_str(), nullptr, nullptr));
    input_.reset(opened);
    check(avformat_find_stream_info(opened, nullptr));
    const AVCodec* found = nullptr;
    const int index = av_find_best_stream(opened, AVMEDIA_TYPE_VIDEO, -1, -1, &found, 0);
    check(index);
    stream_ = opened->streams[index];
    codec_.reset(avcodec_alloc_context3(found));
    TORCH_CHECK(codec_ && packet_ && frame_, "out of memory for a decoder");
    check(avcodec_parameters_to_context(codec_.get(), stream_->codecpar));
    check(avcodec_open2(codec_.get(), found, nullptr));
  }

  /// The next frame as [H, W, 3] uint8; undefined after the last.
  at::Tensor next() {
    while (true) {
      const int result = avcodec_receive_frame(codec_.get(), frame_.get());
      if (result >= 0) return to_rgb(*frame_);
      if (result == AVERROR_EOF) return {};
      if (result != AVERROR(EAGAIN)) check(result);
      feed();
    }
  }

  /// How many frames the container claims; call instead of next(), not after it.
  int64_t count() {
    if (stream_->nb_frames > 0) return stream_->nb_frames;
    int64_t packets = 0;
    int result = 0;
    while ((result = av_read_frame(input_.get(), packet_.get())) >= 0) {
      packets += packet_->stream_index == stream_->index;
      av_packet_unref(packet_.get());
    }
    if (result != AVERROR_EOF) check(result);
    return packets;
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
  void check(int result) const {
    if (result < 0)
      throw Error("cannot read the video " + path_.string() + ": " + libav::error_text(result) + "; check the file");
  }

  void feed() {
    while (true) {
      const int result = av_read_frame(input_.get(), packet_.get());
      if (result == AVERROR_EOF) {
        check(avcodec_send_packet(codec_.get(), nullptr));
        return;
      }
      check(result);
      const bool ours = packet_->stream_index == stream_->index;
      const int sent = ours ? avcodec_send_packet(codec_.get(), packet_.get()) : 0;
      av_packet_unref(packet_.get());
      check(sent);
      if (ours) return;
    }
  }

  at::Tensor to_rgb(const AVFrame& frame) {
    if (!convert_ || frame.width != rgb_->width || frame.height != rgb_->height) {
      const bool untagged = frame.colorspace == AVCOL_SPC_UNSPECIFIED;
      const bool bt709 = frame.colorspace == AVCOL_SPC_BT709 || (untagged && frame.height >= 720);
      rgb_ = libav::make_frame(frame.width, frame.height, AV_PIX_FMT_RGB24);
      convert_ = std::make_unique<libav::Converter>(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format),
                                                    AV_PIX_FMT_RGB24, bt709 ? SWS_CS_ITU709 : SWS_CS_ITU601,
                                                    frame.color_range == AVCOL_RANGE_JPEG);
    }
    convert_->run(frame, *rgb_);
    const at::Tensor pixels = at::empty({frame.height, frame.width, 3}, at::kByte);
    const size_t row = static_cast<size_t>(frame.width) * 3;
    for (int y = 0; y < frame.height; ++y)
      std::memcpy(pixels.data_ptr<uint8_t>() + static_cast<size_t>(y) * row,
                  rgb_->data[0] + ptrdiff_t{y} * rgb_->linesize[0], row);
    return pixels;
  }

  std::filesystem::path path_;
  std::unique_ptr<AVFormatContext, CloseInput> input_;
  AVStream* stream_ = nullptr;
  libav::Codec codec_;
  libav::Packet packet_{av_packet_alloc()};
  libav::Frame frame_{av_frame_alloc()}, rgb_;
  std::unique_ptr<libav::Converter> convert_;
};

}  // namespace

Video read_video(const std::filesystem::path& path, int64_t most_frames) {
  libav::quiet();
  Decoder decoder(path);
  std::vector<at::Tensor> frames;
  while (most_frames == 0 || static_cast<int64_t>(frames.size()) < most_frames) {
    const at::Tensor frame = decoder.next();
    if (!frame.defined()) break;
    frames.push_back(frame);
  }
  if (frames.empty()) throw Error("cannot read the video " + path.string() + ": it has no frames; check the file");
  for (const at::Tensor& frame : frames)
    if (frame.sizes() != frames[0].sizes())
      throw Error("cannot read the video " + path.string() + ": its frame size changes");
  Video video;
  video.frames = at::stack(frames);
  decoder.describe(video);
  return video;
}

int64_t each_frame(const std::filesystem::path& path, const std::function<bool(const at::Tensor& frame)>& use) {
  libav::quiet();
  Decoder decoder(path);
  std::vector<int64_t> size;
  int64_t count = 0;
  for (at::Tensor frame = decoder.next(); frame.defined(); frame = decoder.next()) {
    if (count > 0 && frame.sizes() != at::IntArrayRef(size))
      throw Error("cannot read the video " + path.string() + ": its frame size changes");
    size = frame.sizes().vec();
    ++count;
    if (!use(frame)) break;
  }
  if (count == 0) throw Error("cannot read the video " + path.string() + ": it has no frames; check the file");
  return count;
}

int64_t count_video_frames(const std::filesystem::path& path) {
  libav::quiet();
  return Decoder(path).count();
}

}  // namespace tessera
