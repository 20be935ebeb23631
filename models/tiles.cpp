#include "models/tiles.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tessera {

std::vector<TileSpan> tile_spans(int64_t length, int64_t tile, int64_t overlap) {
  TORCH_CHECK(length >= 1 && overlap >= 0 && overlap < tile, "tile_spans: bad length ", length, ", tile ", tile,
              " or overlap ", overlap);
  if (length <= tile) return {{0, length}};
  const int64_t step = tile - overlap, count = (length - overlap + step - 1) / step;
  std::vector<TileSpan> spans;
  for (int64_t i = 0; i < count; ++i) {
    const double place = static_cast<double>(i * (length - tile)) / static_cast<double>(count - 1);
    spans.push_back({static_cast<int64_t>(std::floor(place)), tile});
  }
  return spans;
}

at::Tensor tile_window(const TileSpan& span, int64_t length, int64_t overlap, const at::TensorOptions& options,
                       int64_t margin) {
  const at::Tensor cell = at::arange(span.length, options) + 0.5;
  const auto rise = [&](const at::Tensor& from_end) {
    return ((from_end - static_cast<double>(margin)) / static_cast<double>(std::max<int64_t>(overlap, 1))).clamp(0, 1);
  };
  at::Tensor window = at::ones_like(cell);
  if (span.begin > 0) window = window * rise(cell);
  if (span.begin + span.length < length) window = window * rise(static_cast<double>(span.length) - cell);
  return window;
}

}  // namespace tessera
