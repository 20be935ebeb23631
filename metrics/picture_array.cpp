#include "metrics/picture_array.h"

#include <ATen/ATen.h>

#include <array>

#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

constexpr int64_t kMostPixels = 357913940;  // of one picture, as media/picture.h has it
constexpr double kSlack = 0.5 / 255;        // of a range: half a level, which is rounding

struct NamedRange {
  const char* name;
  double low, high;
};
constexpr std::array kRanges{NamedRange{"0..255", 0, 255}, NamedRange{"0..1", 0, 1}, NamedRange{"-1..1", -1, 1}};

std::string found_in(const NpyHeader& header) {
  return c10::str(at::IntArrayRef(header.shape), " of ", header.descr);
}

/// Whether the channels come before height and width.
bool find_layout(const NpyHeader& header, const std::string& layout, const std::string& where) {
  const std::vector<int64_t>& shape = header.shape;
  const bool four = shape.size() == 4;
  const bool last = four && shape[3] == 3 && layout != "nchw", first = four && shape[1] == 3 && layout != "nhwc";
  if (last && first)
    throw Error(where + ": its shape " + c10::str(at::IntArrayRef(shape)) +
                " may be [N, H, W, 3] or [N, 3, H, W]; say which with --array-layout nhwc or nchw");
  if (last || first) return first;
  const std::string wanted = layout == "nchw"   ? "[N, 3, H, W]"
                             : layout == "nhwc" ? "[N, H, W, 3]"
                                                : "[N, H, W, 3] or [N, 3, H, W]";
  throw Error(where + ": want pictures, " + wanted + " of uint8, found " + found_in(header));
}

const NamedRange& find_range(const NpyHeader& header, const std::string& range, const std::string& where) {
  const at::ScalarType dtype = header.dtype(where);
  const std::string names = joined(kRanges, ", ", [](const NamedRange& known) { return known.name; });
  if (dtype == at::kBool) throw Error(where + ": want pictures of uint8 or floats, found " + found_in(header));
  if (range.empty() && dtype != at::kByte)
    throw Error(where + ": its pictures are " + header.descr + ", not uint8, so it is not clear what black and white " +
                "are; say it with --array-range (" + names + ")");
  for (const NamedRange& known : kRanges) {
    if (known.name != (range.empty() ? "0..255" : range)) continue;
    if (known.high != 255 && !at::isFloatingType(dtype))
      throw Error(where + ": its pictures are whole numbers (" + header.descr + "), whose range is 0..255, not " +
                  range + "; leave --array-range out for uint8");
    return known;
  }
  throw Error("--array-range: unknown value \"" + range + "\" (one of: " + names + ")");
}

}  // namespace

std::vector<std::string> array_layouts() {
  return {"auto", "nhwc", "nchw"};
}

std::vector<std::string> array_ranges() {
  std::vector<std::string> names;
  for (const NamedRange& range : kRanges) names.emplace_back(range.name);
  return names;
}

PictureArray::PictureArray(const std::filesystem::path& path, const std::string& name, const ArrayForm& form)
    : where_(path.string() + ", array \"" + name + "\""), rows_(NpzFile(path), name) {
  const NpyHeader& header = rows_.header();
  header.dtype(where_);
  channels_first_ = find_layout(header, form.layout, where_);
  const NamedRange& range = find_range(header, form.range, where_);
  low_ = range.low, high_ = range.high;
  const int64_t height = header.shape[channels_first_ ? 2 : 1], width = header.shape[channels_first_ ? 3 : 2];
  if (header.shape[0] < 1 || height < 1 || width < 1)
    throw Error(where_ + ": want 1 picture of 1 pixel at least, found " + found_in(header));
  if (height > kMostPixels / width)
    throw Error(where_ + ": want pictures of at most " + std::to_string(kMostPixels) + " pixels, found " +
                found_in(header));
}

at::Tensor PictureArray::next() {
  at::Tensor picture = rows_.next(1)[0];
  const int64_t index = read_++;
  if (channels_first_) picture = picture.permute({1, 2, 0});
  picture = picture.contiguous();
  if (picture.scalar_type() == at::kByte) return picture;
  const at::Tensor values = picture.to(at::kFloat);
  const double least = values.min().item<double>(), most = values.max().item<double>();  // NaN where there is one
  const double slack = kSlack * (high_ - low_);
  if (!(least >= low_ - slack && most <= high_ + slack))
    throw Error(c10::str(where_, ": picture ", index, " has values from ", least, " to ", most, ", want ", low_, " to ",
                         high_, "; choose the right --array-range, or clip them"));
  return values.sub(low_).mul(255 / (high_ - low_)).round().clamp(0, 255).to(at::kByte);
}

}  // namespace tessera
