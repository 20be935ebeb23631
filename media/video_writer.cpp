#include "media/video_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/utf8.h"
#include "media/codecs.h"
#include "media/image_io.h"
#include "media/libav.h"
#include "media/palette.h"

extern "C" {
#include <libavutil/cpu.h>
#include <libavutil/imgutils.h>
}

namespace tessera {
namespace {

namespace fs = std::filesystem;

struct CloseMuxer {
  void operator()(AVFormatContext* muxer) const {
    if (muxer->pb) avio_closep(&muxer->pb);
    avformat_free_context(muxer);
  }
};

/// Key-value options for libav; one that libav did not take is an error in our tables.
class Options {
 public:
  explicit Options(const std::string& text) {
    TORCH_CHECK(text.empty() || av_dict_parse_string(&entries_, text.c_str(), "=", ":", 0) >= 0, "bad options ", text);
  }
  ~Options() { av_dict_free(&entries_); }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  AVDictionary** get() { return &entries_; }
  void check_all_taken() const {
    const AVDictionaryEntry* left = av_dict_get(entries_, "", nullptr, AV_DICT_IGNORE_SUFFIX);
    TORCH_CHECK(!left, "libav does not know the option ", left ? left->key : "");
  }

 private:
  AVDictionary* entries_ = nullptr;
};

bool is_yuv420(AVPixelFormat format) {
  return format == AV_PIX_FMT_YUV420P;
}

/// The side as it is stored: yuv420p has even sides only.
int64_t stored_side(int64_t side, const EncoderSpec& spec) {
  return is_yuv420(spec.format) ? side + side % 2 : side;
}

/// Throws Error for a frame that the encoder's format cannot hold.
void check_size(const fs::path& path, const OutputOptions& options, const EncoderSpec& spec) {
  const int64_t width = stored_side(options.width, spec), height = stored_side(options.height, spec);
  const std::string size = std::to_string(options.width) + "x" + std::to_string(options.height);
  const std::string advice = "; choose a smaller size or another extension";
  if (spec.most_side > 0 && std::max(width, height) > spec.most_side)
    throw Error("cannot write " + path.string() + " at " + size + ": " + spec.name + " takes at most " +
                std::to_string(spec.most_side) + " pixels a side" + advice);
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  if (width > kMost || height > kMost ||
      av_image_check_size(static_cast<unsigned>(width), static_cast<unsigned>(height), 0, nullptr) < 0)
    throw Error("cannot write " + path.string() + " at " + size + ": FFmpeg takes no frame of so many pixels" + advice);
}

void tag_bt709(AVCodecContext& codec) {
  codec.colorspace = AVCOL_SPC_BT709;
  codec.color_primaries = AVCOL_PRI_BT709;
  codec.color_trc = AVCOL_TRC_BT709;
  codec.color_range = AVCOL_RANGE_MPEG;
  codec.chroma_sample_location = AVCHROMA_LOC_LEFT;
}

/// The encoder's options on this machine. x264's AVX-512 code for macroblock trees (seen in its build 164) reads memory
/// that was never set, so narrow videos came out different each time; its AVX2 code gives the bytes of its plain C
/// code.
std::string encoder_options(const EncoderSpec& spec) {
  const bool avoid_avx512 = spec.name == "libx264" && (av_get_cpu_flags() & AV_CPU_FLAG_AVX512);
  return avoid_avx512 ? spec.options + ":x264-params=asm=avx2" : spec.options;
}

/// Opens one encoder; on failure returns none and adds "NAME: why" to `problems`.
libav::Codec open_encoder(const EncoderSpec& spec, const OutputOptions& options, bool global_header,
                          std::string& problems) {
  const std::string separator = problems.empty() ? "" : "; ";
  const AVCodec* found = avcodec_find_encoder_by_name(spec.name.c_str());
  if (!found) {
    problems += separator + spec.name + ": not in this FFmpeg";
    return {};
  }
  libav::Codec codec(avcodec_alloc_context3(found));
  TORCH_CHECK(codec, "out of memory for an encoder");
  codec->width = static_cast<int>(stored_side(options.width, spec));
  codec->height = static_cast<int>(stored_side(options.height, spec));
  codec->pix_fmt = spec.format;
  codec->framerate = libav::rational(options.fps);
  codec->time_base = av_inv_q(codec->framerate);
  codec->sample_aspect_ratio = {1, 1};
  codec->thread_count = 1;
  codec->flags |= AV_CODEC_FLAG_BITEXACT;
  if (global_header) codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  if (is_yuv420(spec.format)) tag_bt709(*codec);
  if (spec.bits_per_pixel > 0)
    codec->bit_rate = std::llround(spec.bits_per_pixel * static_cast<double>(options.width) *
                                   static_cast<double>(options.height) * av_q2d(codec->framerate));
  Options settings(encoder_options(spec));
  const int result = avcodec_open2(codec.get(), found, settings.get());
  if (result < 0) {
    problems += separator + spec.name + ": " + libav::error_text(result);
    return {};
  }
  settings.check_all_taken();
  return codec;
}

/// Copies [H, W, 3] bytes into a frame of at least that size, repeating the last column and row into what is left.
void copy_padded(const at::Tensor& bytes, AVFrame& frame) {
  const int64_t height = bytes.size(0), row = bytes.size(1) * 3;
  const auto* source = bytes.const_data_ptr<uint8_t>();
  for (int64_t y = 0; y < frame.height; ++y) {
    uint8_t* target = frame.data[0] + y * frame.linesize[0];
    const uint8_t* line = source + std::min(y, height - 1) * row;
    std::memcpy(target, line, static_cast<size_t>(row));
    for (int64_t x = row; x < int64_t{frame.width} * 3; ++x) target[x] = target[x - 3];
  }
}

void fill_palette_frame(const at::Tensor& bytes, AVFrame& frame) {
  const Palette palette = quantize({bytes.const_data_ptr<uint8_t>(), static_cast<size_t>(bytes.numel())});
  std::memcpy(frame.data[1], palette.colors.data(), sizeof palette.colors);
  for (int y = 0; y < frame.height; ++y)
    std::memcpy(frame.data[0] + ptrdiff_t{y} * frame.linesize[0],
                palette.indices.data() + size_t(y) * size_t(frame.width), static_cast<size_t>(frame.width));
}

void check_options(const fs::path& path, const OutputOptions& options) {
  TORCH_CHECK(options.width > 0 && options.height > 0, "bad video size ", options.width, "x", options.height);
  const FrameRate& fps = options.fps;
  TORCH_CHECK(fps.numerator > 0 && fps.denominator > 0 && fps.numerator < (1 << 24) && fps.denominator < (1 << 24),
              "bad frame rate ", fps.numerator, "/", fps.denominator);
  if (!is_utf8_text(options.comment)) throw Error("the comment for " + path.string() + " is not UTF-8 without NUL");
}

}  // namespace

struct VideoWriter::State {
  State(const fs::path& output, const OutputOptions& wanted)
      : path(output),
        options(wanted),
        container(container_for(output)),
        candidates(encoder_candidates(container, wanted.encoder)) {}

  void open_codec();
  void open_muxer();
  void encode(const AVFrame* frame);
  /// Throws the Error for a failed libav call that writes, in write_error's words where `result` holds an errno.
  void check(int result, const char* action) const;

  fs::path path;
  OutputOptions options;
  const ContainerSpec& container;
  std::vector<std::string> candidates;
  std::string name;
  std::unique_ptr<AtomicFile> file;
  std::unique_ptr<AVFormatContext, CloseMuxer> muxer;
  libav::Codec codec;
  AVStream* stream = nullptr;
  libav::Frame rgb;
  std::unique_ptr<libav::Converter> convert;
  libav::Packet packet{av_packet_alloc()};
  int64_t count = 0;
};

void VideoWriter::State::check(int result, const char* action) const {
  if (result >= 0) return;
  if (muxer->pb && muxer->pb->error < 0) result = muxer->pb->error;
  const int error_number = AVUNERROR(result);
  if (error_number > 0 && error_number < 4096 && error_number != EINVAL) throw write_error(path, error_number);
  throw Error("cannot write " + path.string() + ": " + action + " failed: " + libav::error_text(result),
              ExitCode::kFailed);
}

void VideoWriter::State::open_codec() {
  const AVOutputFormat* format = av_guess_format(container.muxer.c_str(), nullptr, nullptr);
  if (!format)
    throw Error("this FFmpeg cannot write " + path.extension().string() + " files (no muxer " + container.muxer +
                "); install a full FFmpeg or choose another extension");
  std::string problems;
  for (const std::string& candidate : candidates) {
    const EncoderSpec& spec = encoder_spec(candidate);
    check_size(path, options, spec);
    codec = open_encoder(spec, options, format->flags & AVFMT_GLOBALHEADER, problems);
    name = candidate;
    if (codec) return;
  }
  throw Error("no encoder for " + container.format + " in " + path.string() + " (" + problems +
              "); install an FFmpeg that has one, or choose another extension");
}

void VideoWriter::State::open_muxer() {
  AVFormatContext* made = nullptr;
  const std::string url = "file:" + file->temporary().string();
  TORCH_CHECK(avformat_alloc_output_context2(&made, nullptr, container.muxer.c_str(), url.c_str()) >= 0,
              "libav cannot make a muxer ", container.muxer);
  muxer.reset(made);
  muxer->flags |= AVFMT_FLAG_BITEXACT;
  if (!options.comment.empty()) av_dict_set(&muxer->metadata, "comment", options.comment.c_str(), 0);
  stream = avformat_new_stream(muxer.get(), nullptr);
  TORCH_CHECK(stream && avcodec_parameters_from_context(stream->codecpar, codec.get()) >= 0,
              "libav cannot make a stream");
  stream->time_base = codec->time_base;
  stream->avg_frame_rate = codec->framerate;
  stream->sample_aspect_ratio = codec->sample_aspect_ratio;
  check(avio_open(&muxer->pb, url.c_str(), AVIO_FLAG_WRITE), "opening");
  Options settings(container.options);
  check(avformat_write_header(muxer.get(), settings.get()), "writing the header");
  settings.check_all_taken();
}

void VideoWriter::State::encode(const AVFrame* frame) {
  check(avcodec_send_frame(codec.get(), frame), "encoding");
  while (true) {
    const int result = avcodec_receive_packet(codec.get(), packet.get());
    if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
    check(result, "encoding");
    if (packet->duration == 0) packet->duration = 1;
    packet->stream_index = stream->index;
    av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
    check(av_interleaved_write_frame(muxer.get(), packet.get()), "writing a frame");
    check(muxer->pb->error, "writing a frame");
  }
}

VideoWriter::VideoWriter(const fs::path& path, const OutputOptions& options) {
  check_options(path, options);
  libav::quiet();
  state_ = std::make_unique<State>(path, options);
  State& state = *state_;
  TORCH_CHECK(state.packet, "out of memory for a packet");
  state.open_codec();
  check_writable(path);
  state.file = std::make_unique<AtomicFile>(path);
  state.open_muxer();
  const AVPixelFormat format = state.codec->pix_fmt;
  if (format == AV_PIX_FMT_PAL8) return;
  state.rgb = libav::make_frame(state.codec->width, state.codec->height, AV_PIX_FMT_RGB24);
  state.convert = std::make_unique<libav::Converter>(state.codec->width, state.codec->height, AV_PIX_FMT_RGB24, format);
}

VideoWriter::~VideoWriter() = default;

const std::string& VideoWriter::encoder() const {
  return state_->name;
}

std::string VideoWriter::note() const {
  if (state_->name == state_->candidates.front()) return "";
  return state_->path.string() + " is encoded with " + state_->name + ": this FFmpeg has no working " +
         state_->candidates.front();
}

void VideoWriter::write(const at::Tensor& frame) {
  State& state = *state_;
  const at::Tensor bytes = to_bytes(frame);
  TORCH_CHECK(bytes.size(0) == state.options.height && bytes.size(1) == state.options.width, "frame is ", bytes.size(1),
              "x", bytes.size(0), ", the video ", state.options.width, "x", state.options.height);
  const libav::Frame picture = libav::make_frame(state.codec->width, state.codec->height, state.codec->pix_fmt);
  if (state.convert) {
    copy_padded(bytes, *state.rgb);
    state.convert->run(*state.rgb, *picture);
  } else {
    fill_palette_frame(bytes, *picture);
  }
  picture->pts = state.count++;
  picture->colorspace = state.codec->colorspace;
  picture->color_primaries = state.codec->color_primaries;
  picture->color_trc = state.codec->color_trc;
  picture->color_range = state.codec->color_range;
  picture->chroma_location = state.codec->chroma_sample_location;
  state.encode(picture.get());
}

void VideoWriter::finish() {
  State& state = *state_;
  TORCH_CHECK(state.count > 0, "no frame was written to ", state.path.string());
  state.encode(nullptr);
  state.check(av_write_trailer(state.muxer.get()), "finishing");
  avio_flush(state.muxer->pb);
  state.check(state.muxer->pb->error, "finishing");
  state.check(avio_closep(&state.muxer->pb), "closing");
  state.file->commit();
}

}  // namespace tessera
