#include <lcms2.h>
#include <tiffio.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "media/picture_decoders.h"
#include "media/picture_pixels.h"

namespace tessera::pictures {
namespace {

/// The bytes of the file, and the first error that libtiff reports about them.
struct TiffSource {
  std::string_view bytes;
  size_t at = 0;
  std::string error{};

  static TiffSource& of(thandle_t handle) { return *static_cast<TiffSource*>(handle); }
  static tmsize_t read(thandle_t handle, void* to, tmsize_t size) {
    TiffSource& self = of(handle);
    const size_t left = self.bytes.size() - std::min(self.at, self.bytes.size());
    const size_t count = std::min(left, static_cast<size_t>(size));
    std::memcpy(to, self.bytes.data() + self.at, count);
    self.at += count;
    return static_cast<tmsize_t>(count);
  }
  static tmsize_t write(thandle_t, void*, tmsize_t) { return 0; }
  static toff_t seek(thandle_t handle, toff_t offset, int from) {
    TiffSource& self = of(handle);
    self.at = static_cast<size_t>(offset) + (from == SEEK_CUR ? self.at : (from == SEEK_END ? self.bytes.size() : 0));
    self.at = std::min(self.at, self.bytes.size());
    return self.at;
  }
  static int close(thandle_t) { return 0; }
  static toff_t size(thandle_t handle) { return of(handle).bytes.size(); }
  static int map(thandle_t handle, void** base, toff_t* size) {
    *base = const_cast<char*>(of(handle).bytes.data());  // libtiff opens it for reading
    *size = of(handle).bytes.size();
    return 1;
  }
  static void unmap(thandle_t, void*, toff_t) {}
  static int on_error(TIFF*, void* source, const char*, const char* format, va_list values) {
    auto& self = *static_cast<TiffSource*>(source);
    std::array<char, 256> text{};
    std::vsnprintf(text.data(), text.size(), format, values);
    if (self.error.empty()) self.error = text.data();
    return 1;  // handled: libtiff does not print it
  }
  static int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }
};

struct Close {
  void operator()(TIFF* file) const { TIFFClose(file); }
  void operator()(TIFFOpenOptions* options) const { TIFFOpenOptionsFree(options); }
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using File = std::unique_ptr<TIFF, Close>;
/// Zeroed bytes. The system gives the memory when it is written to, so a size that lies costs nothing.
using Buffer = std::unique_ptr<uint8_t, Close>;

Buffer zeroed(size_t size) {
  Buffer buffer(static_cast<uint8_t*>(std::calloc(size, 1)));
  if (!buffer) throw std::bad_alloc();
  return buffer;
}

File open(TiffSource& source) {
  const std::unique_ptr<TIFFOpenOptions, Close> options(TIFFOpenOptionsAlloc());
  if (!options) throw std::bad_alloc();
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), std::numeric_limits<int>::max());
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), TiffSource::on_error, &source);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), TiffSource::on_warning, nullptr);
  return File(TIFFClientOpenExt("the file", "r", &source, TiffSource::read, TiffSource::write, TiffSource::seek,
                                TiffSource::close, TiffSource::size, TiffSource::map, TiffSource::unmap,
                                options.get()));
}

/// What the tags say of the samples, and the blocks (strips or tiles) that they lie in.
struct Layout {
  uint32_t width = 0, height = 0;
  uint16_t bits = 1, channels = 1, format = SAMPLEFORMAT_UINT, planes = PLANARCONFIG_CONTIG, compression = 1;
  uint16_t photometric = PHOTOMETRIC_MINISWHITE, orientation = ORIENTATION_TOPLEFT;
  bool premultiplied = false, tiled = false, subsampled = false;
  uint32_t block_width = 0, block_height = 0;
  std::array<uint16_t*, 3> palette{};

  bool separate() const { return planes == PLANARCONFIG_SEPARATE; }
  bool deep_gray() const { return bits > 8 && photometric <= PHOTOMETRIC_MINISBLACK; }
  /// Channels before those that are extra.
  uint16_t colors() const {
    if (photometric == PHOTOMETRIC_SEPARATED) return 4;
    const bool three =
        photometric == PHOTOMETRIC_RGB || photometric == PHOTOMETRIC_YCBCR || photometric == PHOTOMETRIC_CIELAB;
    return three ? 3 : 1;
  }
  uint16_t used() const { return static_cast<uint16_t>(colors() + premultiplied); }
};

Layout layout_of(TIFF* file) {
  Layout layout;
  TIFFGetField(file, TIFFTAG_IMAGEWIDTH, &layout.width);
  TIFFGetField(file, TIFFTAG_IMAGELENGTH, &layout.height);
  TIFFGetFieldDefaulted(file, TIFFTAG_BITSPERSAMPLE, &layout.bits);
  TIFFGetFieldDefaulted(file, TIFFTAG_SAMPLESPERPIXEL, &layout.channels);
  TIFFGetFieldDefaulted(file, TIFFTAG_SAMPLEFORMAT, &layout.format);
  TIFFGetFieldDefaulted(file, TIFFTAG_PLANARCONFIG, &layout.planes);
  TIFFGetFieldDefaulted(file, TIFFTAG_COMPRESSION, &layout.compression);
  TIFFGetField(file, TIFFTAG_PHOTOMETRIC, &layout.photometric);
  TIFFGetFieldDefaulted(file, TIFFTAG_ORIENTATION, &layout.orientation);
  if (layout.photometric == PHOTOMETRIC_YCBCR && layout.channels == 1) layout.photometric = PHOTOMETRIC_MINISBLACK;
  uint16_t extra = 0, *kinds = nullptr;
  TIFFGetFieldDefaulted(file, TIFFTAG_EXTRASAMPLES, &extra, &kinds);
  layout.premultiplied = extra > 0 && kinds[0] == EXTRASAMPLE_ASSOCALPHA && layout.channels > layout.colors();
  if (layout.photometric == PHOTOMETRIC_PALETTE)
    TIFFGetField(file, TIFFTAG_COLORMAP, &layout.palette[0], &layout.palette[1], &layout.palette[2]);
  uint16_t across = 1, down = 1;
  TIFFGetFieldDefaulted(file, TIFFTAG_YCBCRSUBSAMPLING, &across, &down);
  layout.subsampled = across != 1 || down != 1;
  layout.tiled = TIFFIsTiled(file) != 0;
  if (layout.tiled) {
    TIFFGetField(file, TIFFTAG_TILEWIDTH, &layout.block_width);
    TIFFGetField(file, TIFFTAG_TILELENGTH, &layout.block_height);
  } else {
    layout.block_width = layout.width;
    TIFFGetFieldDefaulted(file, TIFFTAG_ROWSPERSTRIP, &layout.block_height);
    layout.block_height = std::min(layout.block_height, layout.height);
  }
  return layout;
}

/// Whether Pillow has a mode for these samples.
bool is_read(const Layout& layout) {
  const bool whole = layout.format == SAMPLEFORMAT_UINT, bytes = layout.bits == 8 || layout.bits == 16;
  switch (layout.photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
      if (layout.format == SAMPLEFORMAT_IEEEFP) return layout.bits == 32;
      if (layout.format == SAMPLEFORMAT_INT) return bytes || layout.bits == 32;
      return whole && (bytes || layout.bits == 1 || layout.bits == 2 || layout.bits == 4 || layout.bits == 12 ||
                       layout.bits == 32);
    case PHOTOMETRIC_PALETTE:
      return layout.palette[0] && (whole || layout.bits == 8) &&
             (layout.bits == 1 || layout.bits == 2 || layout.bits == 4 || layout.bits == 8);
    case PHOTOMETRIC_RGB:
    case PHOTOMETRIC_SEPARATED:
      return whole && bytes && layout.channels >= layout.colors();
    case PHOTOMETRIC_YCBCR:
    case PHOTOMETRIC_CIELAB:
      return whole && layout.bits == 8 && layout.channels == 3;
    default:
      return false;
  }
}

/// The samples of one row of a block: of all channels, or of one each where they lie in separate planes.
struct Row {
  const Layout& layout;
  std::array<const uint8_t*, 5> planes;

  /// The bits of a sample, as an unsigned number.
  uint32_t raw(size_t x, size_t channel) const {
    const uint8_t* from = planes[layout.separate() ? channel : 0];
    const size_t index = layout.separate() ? x : x * layout.channels + channel;
    if (layout.bits == 8) return from[index];
    if (layout.bits == 16) return of_bytes<uint16_t>(from, index);
    if (layout.bits == 32) return of_bytes<uint32_t>(from, index);
    if (layout.bits == 12) {
      const uint8_t* pair = from + index / 2 * 3;  // two samples in three bytes
      return index % 2 == 0 ? static_cast<uint32_t>(pair[0] << 4 | pair[1] >> 4)
                            : static_cast<uint32_t>((pair[1] & 15) << 8 | pair[2]);
    }
    const size_t bit = index * layout.bits;
    return from[bit / 8] >> (8 - layout.bits - bit % 8) & ((1u << layout.bits) - 1);
  }
  template <class T>
  static T of_bytes(const uint8_t* from, size_t index) {
    T value;
    std::memcpy(&value, from + index * sizeof value, sizeof value);
    return value;
  }
  /// A sample of 8 bits, or the high byte of one of 16.
  uint8_t byte(size_t x, size_t channel) const {
    return static_cast<uint8_t>(layout.bits == 16 ? raw(x, channel) >> 8 : raw(x, channel));
  }
};

uint8_t gray(const Row& row, size_t x) {
  const Layout& layout = row.layout;
  const uint32_t raw = row.raw(x, 0);
  if (layout.deep_gray()) {  // clipped; Pillow does not invert it where 0 is white
    if (layout.format == SAMPLEFORMAT_IEEEFP)
      return clipped(Row::of_bytes<float>(reinterpret_cast<const uint8_t*>(&raw), 0));
    if (layout.bits == 32) return clipped(static_cast<int32_t>(raw));
    return clipped(layout.format == SAMPLEFORMAT_INT ? static_cast<int16_t>(raw) : static_cast<int32_t>(raw));
  }
  const auto value = static_cast<uint8_t>(raw * 255 / ((1u << layout.bits) - 1));
  return layout.photometric == PHOTOMETRIC_MINISWHITE ? static_cast<uint8_t>(255 - value) : value;
}

void convert(const Row& row, size_t x, uint8_t* to) {
  const Layout& layout = row.layout;
  switch (layout.photometric) {
    case PHOTOMETRIC_PALETTE:
      for (size_t c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>(layout.palette[c][row.raw(x, 0)] >> 8);
      return;
    case PHOTOMETRIC_SEPARATED: {
      const std::array<uint8_t, 4> ink = {row.byte(x, 0), row.byte(x, 1), row.byte(x, 2), row.byte(x, 3)};
      return cmyk_to_rgb(ink.data(), to);
    }
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
      to[0] = gray(row, x);
      if (layout.premultiplied) to[0] = unmultiplied(to[0], row.byte(x, 1));
      to[1] = to[2] = to[0];
      return;
    default:
      for (size_t c = 0; c < 3; ++c) {
        to[c] = row.byte(x, c);
        if (layout.premultiplied) to[c] = unmultiplied(to[c], row.byte(x, 3));
      }
  }
}

struct Reader {
  TIFF* file;
  Layout layout;
  const TiffSource& source;
  const std::filesystem::path& path;

  [[noreturn]] void refuse(const std::string& reason) const {
    fail(path, "TIFF", source.error.empty() ? reason : source.error);
  }

  /// The pixels of every block, through libtiff's own conversion: YCbCr in other compressions than JPEG.
  void read_rgba(uint8_t* pixels) const {
    std::array<char, 1024> reason{};
    TIFFRGBAImage image;
    if (!TIFFRGBAImageOK(file, reason.data()) || !TIFFRGBAImageBegin(&image, file, 1, reason.data()))
      refuse(reason.data());
    const std::unique_ptr<TIFFRGBAImage, decltype(&TIFFRGBAImageEnd)> end(&image, TIFFRGBAImageEnd);
    image.orientation = image.req_orientation = ORIENTATION_TOPLEFT;
    const size_t width = layout.width;
    const Buffer raster = zeroed(width * layout.block_height * sizeof(uint32_t));
    auto* const block = reinterpret_cast<uint32_t*>(raster.get());
    for (uint32_t y = 0; y < layout.height; y += layout.block_height) {
      const uint32_t rows = std::min(layout.block_height, layout.height - y);
      image.row_offset = static_cast<int>(y);
      if (!TIFFRGBAImageGet(&image, block, layout.width, rows)) refuse("it is damaged");
      uint8_t* to = pixels + y * width * 3;
      for (const uint32_t* pixel = block; pixel != block + rows * width; ++pixel, to += 3) {
        to[0] = static_cast<uint8_t>(TIFFGetR(*pixel));
        to[1] = static_cast<uint8_t>(TIFFGetG(*pixel));
        to[2] = static_cast<uint8_t>(TIFFGetB(*pixel));
      }
    }
  }

  void read_samples(uint8_t* pixels) const {
    const auto size = static_cast<uint64_t>(layout.tiled ? TIFFTileSize(file) : TIFFStripSize(file));
    const auto row_size = static_cast<uint64_t>(layout.tiled ? TIFFTileRowSize(file) : TIFFScanlineSize(file));
    const uint64_t in_row = uint64_t{layout.block_width} * (layout.separate() ? 1 : layout.channels) * layout.bits;
    if (size == 0 || size > std::numeric_limits<int>::max() || row_size < (in_row + 7) / 8 ||
        size / row_size < layout.block_height)
      refuse("its strips or tiles have " + std::to_string(size) + " bytes, which does not fit its size");
    const size_t planes = layout.separate() ? layout.used() : 1;
    std::array<Buffer, 5> blocks;
    for (size_t i = 0; i < planes; ++i) blocks[i] = zeroed(size);
    for (uint32_t y = 0; y < layout.height; y += layout.block_height)
      for (uint32_t x = 0; x < layout.width; x += layout.block_width) {
        for (size_t i = 0; i < planes; ++i) read_block(x, y, static_cast<uint16_t>(i), blocks[i].get(), size);
        const uint32_t rows = std::min(layout.block_height, layout.height - y);
        const uint32_t columns = std::min(layout.block_width, layout.width - x);
        for (uint32_t r = 0; r < rows; ++r) {
          Row row{.layout = layout, .planes = {}};
          for (size_t i = 0; i < planes; ++i) row.planes[i] = blocks[i].get() + r * row_size;
          uint8_t* to = pixels + ((uint64_t{y} + r) * layout.width + x) * 3;
          for (size_t i = 0; i < columns; ++i, to += 3) convert(row, i, to);
        }
      }
  }

  void read_block(uint32_t x, uint32_t y, uint16_t plane, uint8_t* to, uint64_t size) const {
    const tmsize_t read =
        layout.tiled ? TIFFReadTile(file, to, x, y, 0, plane)
                     : TIFFReadEncodedStrip(file, TIFFComputeStrip(file, y, plane), to, static_cast<tmsize_t>(size));
    if (read < 0) refuse("it is damaged or cut short");
  }
};

/// From YCbCr of full range, in place, in Pillow's fixed-point arithmetic.
void from_ycbcr(const at::Tensor& picture) {
  const auto part = [](double factor, int chroma) { return static_cast<int>(factor * 64 * (chroma - 128) + 0.5); };
  uint8_t* end = picture.data_ptr<uint8_t>() + picture.numel();
  for (uint8_t* pixel = picture.data_ptr<uint8_t>(); pixel != end; pixel += 3) {
    const int y = pixel[0], cb = pixel[1], cr = pixel[2];
    pixel[0] = clipped(y + (part(1.402, cr) >> 6));
    pixel[1] = clipped(y + ((part(-0.34414, cb) + part(-0.71414, cr)) >> 6));
    pixel[2] = clipped(y + (part(1.772, cb) >> 6));
  }
}

/// From CIE L*a*b* to sRGB, in place, through the profiles that Pillow takes.
void from_lab(const at::Tensor& picture) {
  const int64_t count = picture.size(0) * picture.size(1);
  uint8_t* pixels = picture.data_ptr<uint8_t>();
  for (int64_t i = 0; i < count; ++i)  // a and b are signed in TIFF
    for (const int64_t c : {1, 2}) pixels[3 * i + c] ^= 128;
  constexpr cmsUInt32Number kLab8 = COLORSPACE_SH(PT_LabV2) | CHANNELS_SH(3) | BYTES_SH(1);
  cmsHPROFILE lab = cmsCreateLab2Profile(nullptr), rgb = cmsCreate_sRGBProfile();
  cmsHTRANSFORM transform = cmsCreateTransform(lab, kLab8, rgb, TYPE_RGB_8, INTENT_PERCEPTUAL, 0);
  cmsCloseProfile(lab);
  cmsCloseProfile(rgb);
  TORCH_CHECK(transform, "Little CMS makes no transform from L*a*b* to sRGB");
  for (int64_t y = 0; y < picture.size(0); ++y) {
    uint8_t* row = pixels + y * picture.size(1) * 3;
    cmsDoTransform(transform, row, row, static_cast<cmsUInt32Number>(picture.size(1)));
  }
  cmsDeleteTransform(transform);
}

/// The picture turned as the tag says: 2 to 4 mirror or turn it, 5 to 8 also exchange rows and columns.
at::Tensor upright(const at::Tensor& picture, uint16_t orientation, const std::filesystem::path& path) {
  if (orientation < 2 || orientation > 8) return picture;
  const bool exchanged = orientation >= 5;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const int64_t height = picture.size(0), width = picture.size(1);
  const at::Tensor turned = make_picture(exchanged ? width : height, exchanged ? height : width, path);
  const uint8_t* from = picture.data_ptr<uint8_t>();
  uint8_t* to = turned.data_ptr<uint8_t>();
  for (int64_t y = 0; y < turned.size(0); ++y)
    for (int64_t x = 0; x < turned.size(1); ++x, to += 3) {
      const int64_t row = exchanged ? x : y, column = exchanged ? y : x;
      const int64_t pixel = (from_below ? height - 1 - row : row) * width + (from_right ? width - 1 - column : column);
      std::memcpy(to, from + 3 * pixel, 3);
    }
  return turned;
}

}  // namespace

at::Tensor decode_tiff(std::string_view bytes, const std::filesystem::path& path) {
  TiffSource source{.bytes = bytes};
  const File file = open(source);
  if (!file) fail(path, "TIFF", source.error.empty() ? "it is damaged or cut short" : source.error);
  const Reader reader{.file = file.get(), .layout = layout_of(file.get()), .source = source, .path = path};
  const Layout& layout = reader.layout;
  const at::Tensor picture = make_picture(layout.height, layout.width, path);
  if (layout.block_width == 0 || layout.block_height == 0) reader.refuse("its strips or tiles are empty");
  if (!is_read(layout))
    fail(path, "TIFF",
         c10::str(layout.channels, " channels of ", layout.bits, " bits, sample format ", layout.format,
                  ", photometric interpretation ", layout.photometric, " are not supported"));
  const bool ycbcr = layout.photometric == PHOTOMETRIC_YCBCR;
  const bool jpeg = ycbcr && layout.compression == COMPRESSION_JPEG && !layout.separate();
  const bool plain = ycbcr && layout.compression == COMPRESSION_NONE && !layout.subsampled && !layout.separate();
  if (jpeg) TIFFSetField(file.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  if (ycbcr && !jpeg && !plain)
    reader.read_rgba(picture.data_ptr<uint8_t>());
  else
    reader.read_samples(picture.data_ptr<uint8_t>());
  if (plain) from_ycbcr(picture);
  if (layout.photometric == PHOTOMETRIC_CIELAB) from_lab(picture);
  return upright(picture, layout.orientation, path);
}

}  // namespace tessera::pictures
