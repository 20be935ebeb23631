#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace tessera {

/// Cells [begin, begin + length) of an axis.
struct TileSpan {
  int64_t begin, length;
};

/// Tiles of `tile` cells that cover an axis of `length` cells, evenly placed, neighbors sharing `overlap` cells or
/// more; one tile of the whole axis when it is no longer than a tile. Needs 0 <= overlap < tile.
std::vector<TileSpan> tile_spans(int64_t length, int64_t tile, int64_t overlap);

/// Weights of a tile's cells along one axis, [span.length], above 0 and at most 1: they fall linearly over `overlap`
/// cells towards each end that has a neighbor, so that the weighted mean of overlapping tiles has no step.
/// The first `margin` cells at such an end weigh nothing; neighbors must share more than twice as many.
at::Tensor tile_window(const TileSpan& span, int64_t length, int64_t overlap, const at::TensorOptions& options,
                       int64_t margin = 0);

}  // namespace tessera
