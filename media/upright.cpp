#include "media/upright.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tessera {

std::optional<Turn> turn_of(const int32_t* matrix) {
  constexpr double kDegree = 0.017453292519943295;
  const double a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  // The lengths of what one step along a stored row, and one along a stored column, become.
  const double row = std::hypot(a, b), column = std::hypot(c, d), small = std::sin(kDegree);
  if (row == 0 || column == 0) return {};
  if (std::abs(b) <= small * row && std::abs(c) <= small * column) return Turn{false, a < 0, d < 0};
  if (std::abs(a) <= small * row && std::abs(d) <= small * column) return Turn{true, c < 0, b < 0};
  return {};
}

at::Tensor upright(const at::Tensor& frame, const Turn& turn) {
  at::Tensor shown = turn.transpose ? frame.transpose(0, 1) : frame;
  if (turn.mirror_x) shown = shown.flip(1);
  if (turn.mirror_y) shown = shown.flip(0);
  return shown.contiguous();
}

}  // namespace tessera
