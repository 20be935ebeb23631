#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace tessera::test {

/// Features written down row by row: float64 [rows, dims].
inline at::Tensor rows(std::initializer_list<std::vector<double>> values) {
  std::vector<at::Tensor> list;
  for (const auto& row : values) list.push_back(at::tensor(row, at::kDouble));
  return at::stack(list);
}

}  // namespace tessera::test
