#include "media/palette.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr size_t kBits = 6;

struct Bin {
  std::array<uint64_t, 3> sum{};
  uint64_t count = 0;
  std::array<uint8_t, 3> key{};  // the upper bits of each channel
};

/// A range of bins, to be split along its longest side.
struct Box {
  size_t begin, end;
  size_t axis = 0;
  int side = 0;
};

size_t bin_of(const uint8_t* rgb) {
  size_t bin = 0;
  for (size_t channel = 0; channel < 3; ++channel) bin = bin << kBits | rgb[channel] >> (8 - kBits);
  return bin;
}

std::array<uint8_t, 3> key_of(size_t bin) {
  constexpr size_t kMask = (1 << kBits) - 1;
  return {static_cast<uint8_t>(bin >> (2 * kBits)), static_cast<uint8_t>(bin >> kBits & kMask),
          static_cast<uint8_t>(bin & kMask)};
}

Box measure(const std::vector<Bin>& bins, size_t begin, size_t end) {
  Box box{begin, end};
  for (size_t axis = 0; axis < 3; ++axis) {
    const auto [low, high] =
        std::minmax_element(bins.begin() + static_cast<ptrdiff_t>(begin), bins.begin() + static_cast<ptrdiff_t>(end),
                            [&](const Bin& a, const Bin& b) { return a.key[axis] < b.key[axis]; });
    const int side = high->key[axis] - low->key[axis];
    if (side > box.side) {
      box.side = side;
      box.axis = axis;
    }
  }
  return box;
}

/// Where to split so that each part holds about half of the pixels; no part is empty.
size_t median(const std::vector<Bin>& bins, const Box& box) {
  uint64_t total = 0, before = 0;
  for (size_t i = box.begin; i < box.end; ++i) total += bins[i].count;
  size_t cut = box.begin + 1;
  for (; cut + 1 < box.end; ++cut) {
    before += bins[cut - 1].count;
    if (2 * before >= total) break;
  }
  return cut;
}

std::vector<Box> cut_boxes(std::vector<Bin>& bins) {
  std::vector<Box> boxes = {measure(bins, 0, bins.size())};
  while (boxes.size() < 256) {
    const auto widest =
        std::max_element(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.side < b.side; });
    if (widest->side == 0) break;
    const Box box = *widest;
    std::stable_sort(bins.begin() + static_cast<ptrdiff_t>(box.begin), bins.begin() + static_cast<ptrdiff_t>(box.end),
                     [&](const Bin& a, const Bin& b) { return a.key[box.axis] < b.key[box.axis]; });
    const size_t cut = median(bins, box);
    *widest = measure(bins, box.begin, cut);
    boxes.push_back(measure(bins, cut, box.end));
  }
  return boxes;
}

uint32_t mean_color(const std::vector<Bin>& bins, const Box& box) {
  Bin all;
  for (size_t i = box.begin; i < box.end; ++i) {
    all.count += bins[i].count;
    for (size_t channel = 0; channel < 3; ++channel) all.sum[channel] += bins[i].sum[channel];
  }
  uint32_t color = 0xFF;
  for (const uint64_t sum : all.sum) color = color << 8 | static_cast<uint32_t>((sum + all.count / 2) / all.count);
  return color;
}

}  // namespace

Palette quantize(std::span<const uint8_t> rgb) {
  std::vector<Bin> all(size_t{1} << (3 * kBits));
  for (size_t i = 0; i + 2 < rgb.size(); i += 3) {
    Bin& bin = all[bin_of(&rgb[i])];
    ++bin.count;
    for (size_t channel = 0; channel < 3; ++channel) bin.sum[channel] += rgb[i + channel];
  }
  std::vector<Bin> bins;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].count == 0) continue;
    all[i].key = key_of(i);
    bins.push_back(all[i]);
  }

  Palette palette;
  palette.colors.fill(0xFF000000u);
  std::vector<uint8_t> index_of(all.size());
  const std::vector<Box> boxes = cut_boxes(bins);
  for (size_t i = 0; i < boxes.size(); ++i) {
    palette.colors[i] = mean_color(bins, boxes[i]);
    for (size_t b = boxes[i].begin; b < boxes[i].end; ++b) {
      const auto& key = bins[b].key;
      index_of[(size_t{key[0]} << kBits | key[1]) << kBits | key[2]] = static_cast<uint8_t>(i);
    }
  }
  palette.indices.reserve(rgb.size() / 3);
  for (size_t i = 0; i + 2 < rgb.size(); i += 3) palette.indices.push_back(index_of[bin_of(&rgb[i])]);
  return palette;
}

}  // namespace tessera
