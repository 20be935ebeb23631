#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <vector>

namespace tessera {

/// Writes images [3, H, W] in [-1, 1], all of one size, as one PNG: one row of the sheet per row, two pixels of gray
/// between. Shorter rows are padded with gray.
void write_sheet(const std::filesystem::path& path, const std::vector<std::vector<at::Tensor>>& rows);

}  // namespace tessera
