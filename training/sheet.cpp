#include "training/sheet.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "media/image_io.h"

namespace tessera {

void write_sheet(const std::filesystem::path& path, const std::vector<std::vector<at::Tensor>>& rows) {
  constexpr int64_t kGap = 2;
  const int64_t height = rows.front().front().size(1), width = rows.front().front().size(2);
  size_t columns = 0;
  for (const auto& row : rows) columns = std::max(columns, row.size());
  const auto total_height = static_cast<int64_t>(rows.size()) * (height + kGap) - kGap;
  const auto total_width = static_cast<int64_t>(columns) * (width + kGap) - kGap;
  at::Tensor sheet = at::zeros({3, total_height, total_width});
  for (size_t row = 0; row < rows.size(); ++row)
    for (size_t column = 0; column < rows[row].size(); ++column)
      sheet.narrow(1, static_cast<int64_t>(row) * (height + kGap), height)
          .narrow(2, static_cast<int64_t>(column) * (width + kGap), width)
          .copy_(rows[row][column]);
  write_png(path, sheet * 0.5 + 0.5);
}

}  // namespace tessera
