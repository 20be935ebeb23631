#include "media/picture.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/text.h"
#include "media/picture_decoders.h"

namespace tessera {
namespace pictures {
namespace {

using namespace std::string_view_literals;

/// A format and the bytes that its files begin with; '?' stands for any byte.
struct Format {
  std::string_view name, start;
  Decode* decode;
};

constexpr std::array kFormats = {
    Format{.name = "JPEG", .start = "\xff\xd8\xff"sv, .decode = decode_jpeg},
    Format{.name = "PNG", .start = "\x89PNG\r\n\x1a\n"sv, .decode = decode_png},
    Format{.name = "WebP", .start = "RIFF????WEBP"sv, .decode = decode_webp},
    Format{.name = "BMP", .start = "BM"sv, .decode = decode_bmp},
    Format{.name = "PNM", .start = "P1"sv, .decode = decode_pnm},
    Format{.name = "PNM", .start = "P2"sv, .decode = decode_pnm},
    Format{.name = "PNM", .start = "P3"sv, .decode = decode_pnm},
    Format{.name = "PNM", .start = "P4"sv, .decode = decode_pnm},
    Format{.name = "PNM", .start = "P5"sv, .decode = decode_pnm},
    Format{.name = "PNM", .start = "P6"sv, .decode = decode_pnm},
    Format{.name = "PFM", .start = "Pf"sv, .decode = decode_pnm},
    Format{.name = "TIFF", .start = "II*\0"sv, .decode = decode_tiff},
    Format{.name = "TIFF", .start = "MM\0*"sv, .decode = decode_tiff},
    Format{.name = "TIFF", .start = "II+\0"sv, .decode = decode_tiff},  // BigTIFF
    Format{.name = "TIFF", .start = "MM\0+"sv, .decode = decode_tiff},
    Format{.name = "AVIF", .start = "????ftypavi"sv, .decode = decode_avif},
    Format{.name = "HEIF", .start = "????ftyp"sv, .decode = decode_heif},
    Format{.name = "GIF", .start = "GIF8"sv, .decode = decode_gif},
    Format{.name = "PSD", .start = "8BPS"sv, .decode = decode_with_stb},
    Format{.name = "HDR", .start = "#?RADIANCE\n"sv, .decode = decode_with_stb},
    Format{.name = "HDR", .start = "#?RGBE\n"sv, .decode = decode_with_stb},
    Format{.name = "PIC", .start = "\x53\x80\xf6\x34"sv, .decode = decode_with_stb},
    Format{.name = "TGA", .start = ""sv, .decode = decode_tga},  // has no signature: tried last
};

bool begins_with(std::string_view bytes, std::string_view start) {
  return bytes.size() >= start.size() &&
         std::equal(start.begin(), start.end(), bytes.begin(),
                    [](char wanted, char byte) { return wanted == '?' || wanted == byte; });
}

}  // namespace

void fail(const std::filesystem::path& path, const std::string& format, const std::string& reason) {
  std::string line = reason;  // it may come from a library, or have words of the file
  for (char& c : line)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  throw Error(path.string() + " is not a readable " + format + ": " + line + "; check the file");
}

at::Tensor make_picture(int64_t height, int64_t width, const std::filesystem::path& path) {
  constexpr int64_t kMostPixels = 357913940;  // where Pillow refuses a "decompression bomb"
  if (height < 1 || width < 1 || height > kMostPixels / width)
    fail(path, "picture", "its size is " + std::to_string(width) + "x" + std::to_string(height));
  return at::empty({height, width, 3}, at::kByte);
}

int byte_count(std::string_view bytes, const std::filesystem::path& path) {
  constexpr size_t kMost = std::numeric_limits<int>::max();
  if (bytes.size() > kMost) fail(path, "picture", "it has " + std::to_string(bytes.size()) + " bytes, more than 2 GiB");
  return static_cast<int>(bytes.size());
}

std::string format_names() {
  std::vector<std::string_view> names;
  for (const Format& format : kFormats)
    if (names.empty() || names.back() != format.name) names.push_back(format.name);
  return joined(names);
}

}  // namespace pictures

at::Tensor decode_picture(std::string_view bytes, const std::filesystem::path& path) {
  if (bytes.empty()) pictures::fail(path, "picture", "the file is empty");
  const auto format = std::find_if(pictures::kFormats.begin(), pictures::kFormats.end(),
                                   [&](const auto& row) { return pictures::begins_with(bytes, row.start); });
  return format->decode(bytes, path);
}

at::Tensor read_picture(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (fs::is_directory(status)) {
    const fs::directory_iterator listed(path, problem);
    throw Error("cannot read " + path.string() + ": " +
                (problem ? "the folder cannot be listed, " + problem.message() : "it is a folder; want a picture"));
  }
  if (fs::exists(status) && !fs::is_regular_file(status))  // opening it could wait forever
    throw Error("cannot read " + path.string() + ": it is a FIFO, a socket or a device; want a picture");
  const uintmax_t size = fs::file_size(path, problem);
  std::ifstream in(path, std::ios::binary);
  if (problem || !in) throw Error("cannot read " + path.string() + ": no such file or no permission; check the path");
  std::string bytes(size, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  if (static_cast<uintmax_t>(in.gcount()) != size) throw Error("cannot read " + path.string() + ": it ends early");
  return decode_picture(bytes, path);
}

}  // namespace tessera
