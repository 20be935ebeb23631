#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace tessera {

/// How a stored frame is turned or mirrored to be shown: rows and columns change places first, then it is mirrored.
struct Turn {
  bool transpose = false;
  bool mirror_x = false;  ///< left and right change places
  bool mirror_y = false;  ///< top and bottom change places

  bool operator==(const Turn&) const = default;
};

/// The turn of a display matrix as containers store it, 9 numbers {a, b, u, c, d, v, x, y, w}: the stored place (p, q)
/// is shown at (a p + c q, b p + d q), up to scale and shift. Empty when it is no multiple of 90 degrees (within one
/// degree), mirrored or not.
std::optional<Turn> turn_of(const int32_t* matrix);

/// `frame`, [H, W, 3], as it is shown: contiguous, [W, H, 3] when rows and columns change places.
at::Tensor upright(const at::Tensor& frame, const Turn& turn);

}  // namespace tessera
