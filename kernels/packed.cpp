#include "kernels/packed.h"

#include <ATen/ATen.h>
#include <ATen/OpaqueTensorImpl.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/dtype.h"
#include "core/parallel_for.h"
#include "kernels/device_kernels.h"
#include "kernels/hadamard.h"
#include "kernels/int8_product_simd.h"
#include "kernels/unpack_blocks.h"

namespace tessera {
namespace {

constexpr std::array<PackedFormat, 17> kFormats = {{
    {PackedType::kQ4_0, "Q4_0", 32, 18},
    {PackedType::kQ4_1, "Q4_1", 32, 20},
    {PackedType::kQ5_0, "Q5_0", 32, 22},
    {PackedType::kQ5_1, "Q5_1", 32, 24},
    {PackedType::kQ8_0, "Q8_0", 32, 34},
    {PackedType::kQ2K, "Q2_K", 256, 84},
    {PackedType::kQ3K, "Q3_K", 256, 110},
    {PackedType::kQ4K, "Q4_K", 256, 144},
    {PackedType::kQ5K, "Q5_K", 256, 176},
    {PackedType::kQ6K, "Q6_K", 256, 210},
    {PackedType::kInt8, "int8", 1, 1},
    {PackedType::kE4m3, "fp8_e4m3fn", 1, 1},
    {PackedType::kE5m2, "fp8_e5m2", 1, 1},
    {PackedType::kHalf, "fp16", 1, 2},
    {PackedType::kBfloat16, "bf16", 1, 2},
    {PackedType::kFloat, "fp32", 1, 4},
    {PackedType::kInt8Panels, "int8", 1, 1},
}};

constexpr int64_t kLargestBlock = 256;

using Handle = std::shared_ptr<const PackedWeight>;
using PackedImpl = at::OpaqueTensorImpl<Handle>;

/// No backend of this program: whatever operation is called finds no kernel and throws.
constexpr at::DispatchKey kNoBackend = at::DispatchKey::FPGA;

int64_t product(const std::vector<int64_t>& sizes) {
  int64_t out = 1;
  for (const int64_t size : sizes) out *= size;
  return out;
}

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

Int8Weight as_int8(const PackedWeight& weight) {
  return {weight.rows(), weight.columns(), static_cast<const uint8_t*>(weight.bytes.const_data_ptr()), nullptr};
}

std::optional<int64_t> panel_bytes(const PackedWeight& weight) {
  const Int8Weight panels = as_int8(weight);
  return panels.panels() * panels.panel_bytes();
}

void check(const PackedWeight& weight) {
  TORCH_CHECK(!weight.shape.empty() && weight.columns() > 0, "a packed weight needs columns, got shape ",
              at::IntArrayRef(weight.shape));
  const auto bytes =
      weight.type == PackedType::kInt8Panels ? panel_bytes(weight) : packed_bytes(weight.type, weight.numbers());
  TORCH_CHECK(bytes && weight.bytes.scalar_type() == at::kByte && weight.bytes.is_contiguous() &&
                  weight.bytes.numel() == *bytes,
              "a packed weight ", at::IntArrayRef(weight.shape), " does not fit ", weight.bytes.numel(), " bytes of ",
              format_of(weight.type).name);
  const int64_t turn = weight.rotation;
  TORCH_CHECK(turn == 0 || (is_hadamard_size(turn) && weight.columns() % turn == 0), "a packed weight of ",
              weight.columns(), " columns cannot be rotated by ", turn);
  for (const LowRank& more : weight.added)
    TORCH_CHECK(more.up.scalar_type() == at::kFloat && more.down.scalar_type() == at::kFloat && more.up.dim() == 2 &&
                    more.down.dim() == 2 && more.up.size(0) == weight.rows() && more.up.size(1) == more.down.size(0) &&
                    more.down.size(1) == weight.columns(),
                "a product ", more.up.sizes(), " x ", more.down.sizes(), " does not fit a packed weight ",
                at::IntArrayRef(weight.shape));
  if (!weight.scales.defined()) return;
  TORCH_CHECK(weight.scale_rows > 0 && weight.scale_columns > 0 && weight.scales.scalar_type() == at::kFloat &&
                  weight.scales.is_contiguous() && weight.scales.dim() == 2 &&
                  weight.scales.size(0) == ceil_div(weight.rows(), weight.scale_rows) &&
                  weight.scales.size(1) == ceil_div(weight.columns(), weight.scale_columns),
              "scales ", weight.scales.sizes(), " do not fit a packed weight ", at::IntArrayRef(weight.shape));
}

at::Tensor make_tensor(Handle handle, at::ScalarType dtype) {
  const std::vector<int64_t>& shape = handle->shape;
  return at::detail::make_tensor<PackedImpl>(at::DispatchKeySet(kNoBackend), c10::scalarTypeToTypeMeta(dtype),
                                             at::Device(at::kCPU), handle, shape);
}

const PackedImpl* impl_of(const at::Tensor& tensor) {
  return tensor.defined() ? dynamic_cast<const PackedImpl*>(tensor.unsafeGetTensorImpl()) : nullptr;
}

const PackedImpl& packed_impl(const at::Tensor& tensor) {
  const PackedImpl* impl = impl_of(tensor);
  TORCH_CHECK(impl, "want a packed tensor");
  return *impl;
}

/// Numbers [begin, begin + count) of all, which need not begin or end with a block.
void unpack_range(const PackedWeight& weight, int64_t begin, int64_t count, float* out) {
  const PackedFormat& format = format_of(weight.type);
  const auto* bytes = static_cast<const uint8_t*>(weight.bytes.const_data_ptr());
  float block[kLargestBlock];
  while (count > 0) {
    const int64_t index = begin / format.numbers, skipped = begin % format.numbers;
    const uint8_t* from = bytes + index * format.bytes;
    int64_t done;
    if (skipped == 0 && count >= format.numbers) {
      const int64_t whole = count / format.numbers;
      unpack_blocks(weight.type, from, whole, out);
      done = whole * format.numbers;
    } else {
      unpack_blocks(weight.type, from, 1, block);
      done = std::min(count, format.numbers - skipped);
      std::copy_n(block + skipped, done, out);
    }
    begin += done;
    out += done;
    count -= done;
  }
}

void unpack_row(const PackedWeight& weight, int64_t row, float* out) {
  const int64_t columns = weight.columns();
  if (weight.type == PackedType::kInt8Panels)
    read_panel_row(as_int8(weight), row, out);
  else
    unpack_range(weight, row * columns, columns, out);
  if (weight.scales.defined()) {
    const float* scales =
        static_cast<const float*>(weight.scales.const_data_ptr()) + row / weight.scale_rows * weight.scales.size(1);
    for (int64_t begin = 0; begin < columns; begin += weight.scale_columns, ++scales) {
      const int64_t end = std::min(columns, begin + weight.scale_columns);
      for (int64_t i = begin; i < end; ++i) out[i] *= *scales;
    }
  }
  if (weight.rotation > 0)
    for (int64_t begin = 0; begin < columns; begin += weight.rotation) hadamard(out + begin, weight.rotation);
}

template <typename Value>
void round_to(const std::vector<float>& from, Value* to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<Value>(from[i]);
}

static_assert(static_cast<int>(PackedType::kFloat) == static_cast<int>(cuda::Packed::kFloat));

/// Rows as unpack_rows gives them, without what is added, by a kernel of the device that bytes, scales and `out` lie
/// on.
void unpack_on_device(const cuda::Kernels& kernels, const PackedWeight& weight, int64_t first, int64_t count,
                      const at::Tensor& out) {
  TORCH_CHECK(can_unpack_to(weight, out), "unpack_rows: rotated weights and panels are unpacked on a CPU only");
  TORCH_CHECK(
      weight.bytes.device() == out.device() && (!weight.scales.defined() || weight.scales.device() == out.device()),
      "unpack_rows: the weight lies on ", weight.bytes.device(), ", the output on ", out.device());
  const auto* scales = weight.scales.defined() ? weight.scales.const_data_ptr<float>() : nullptr;
  run_kernel(kernels, out, kernels.unpack,
             cuda::Unpack{.packed = static_cast<cuda::Packed>(weight.type),
                          .type = value_of(out.scalar_type()),
                          .bytes = static_cast<const uint8_t*>(weight.bytes.const_data_ptr()),
                          .scales = scales,
                          .scale_rows = weight.scale_rows,
                          .scale_columns = weight.scale_columns,
                          .first = first,
                          .rows = count,
                          .columns = weight.columns(),
                          .y = out.mutable_data_ptr()});
}

/// Rows as unpack_rows gives them, without what is added.
void unpack_stored(const PackedWeight& weight, int64_t first, int64_t count, const at::Tensor& out) {
  const int64_t columns = weight.columns();
  const cuda::Kernels* kernels = device_kernels(out);
  TORCH_CHECK((out.is_cpu() || kernels) && out.is_contiguous() && out.numel() == count * columns && first >= 0 &&
                  first + count <= weight.rows(),
              "unpack_rows: bad rows ", first, " + ", count, " or output ", out.sizes());
  if (kernels) return unpack_on_device(*kernels, weight, first, count, out);
  constexpr int64_t kNumbersOfTask = 1 << 15;
  void* to = out.mutable_data_ptr();
  parallel_for(0, count, std::max<int64_t>(1, kNumbersOfTask / columns), [&](int64_t begin, int64_t end) {
    std::vector<float> row(out.scalar_type() == at::kFloat ? 0 : static_cast<size_t>(columns));
    for (int64_t i = begin; i < end; ++i) {
      if (row.empty()) {
        unpack_row(weight, first + i, static_cast<float*>(to) + i * columns);
        continue;
      }
      unpack_row(weight, first + i, row.data());
      if (out.scalar_type() == at::kBFloat16)
        round_to(row, static_cast<at::BFloat16*>(to) + i * columns);
      else
        round_to(row, static_cast<at::Half*>(to) + i * columns);
    }
  });
}

bool finite_half(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return (bits & 0x7c00) != 0x7c00;
}

/// Where a block's 16-bit factors lie: the first, and how many follow each other.
struct Factors {
  int64_t at, count;
};

Factors factors_of(PackedType type) {
  switch (type) {
    case PackedType::kQ4_1:
    case PackedType::kQ5_1:
    case PackedType::kQ4K:
    case PackedType::kQ5K:
      return {0, 2};
    case PackedType::kQ2K:
      return {80, 2};
    case PackedType::kQ3K:
      return {108, 1};
    case PackedType::kQ6K:
      return {208, 1};
    default:
      return {0, 1};
  }
}

bool finite_block(PackedType type, const uint8_t* block) {
  switch (type) {
    case PackedType::kInt8:
    case PackedType::kInt8Panels:
      return true;
    case PackedType::kE4m3:
      return (*block & 0x7f) != 0x7f;
    case PackedType::kE5m2:
      return (*block & 0x7c) != 0x7c;
    case PackedType::kFloat:
      return (block[3] & 0x7f) != 0x7f || (block[2] & 0x80) == 0;
    case PackedType::kBfloat16:
      return (block[1] & 0x7f) != 0x7f || (block[0] & 0x80) == 0;
    default: {
      const auto [at, count] = factors_of(type);
      return finite_half(block + at) && (count == 1 || finite_half(block + at + 2));
    }
  }
}

/// Whether the largest number that a scale could make is finite.
bool finite_scales(const PackedWeight& weight) {
  if (!weight.scales.defined()) return true;
  const float largest = weight.type == PackedType::kE5m2   ? 57344.0f
                        : weight.type == PackedType::kE4m3 ? 448.0f
                                                           : 128.0f;
  const auto* scales = static_cast<const float*>(weight.scales.const_data_ptr());
  return std::all_of(scales, scales + weight.scales.numel(),
                     [largest](float scale) { return std::isfinite(scale * largest); });
}

}  // namespace

const PackedFormat& format_of(PackedType type) {
  return kFormats.at(static_cast<size_t>(type));
}

int64_t PackedWeight::numbers() const {
  return product(shape);
}

int64_t PackedWeight::rows() const {
  return numbers() / columns();
}

std::optional<int64_t> packed_bytes(PackedType type, int64_t numbers) {
  const PackedFormat& format = format_of(type);
  int64_t bytes = 0;
  if (numbers < 0 || numbers % format.numbers != 0 ||
      __builtin_mul_overflow(numbers / format.numbers, format.bytes, &bytes))
    return std::nullopt;
  return bytes;
}

at::Tensor packed_tensor(PackedWeight weight, at::ScalarType dtype) {
  check(weight);
  return make_tensor(std::make_shared<const PackedWeight>(std::move(weight)), dtype);
}

const PackedWeight* packed_weight(const at::Tensor& tensor) {
  const PackedImpl* impl = impl_of(tensor);
  return impl ? impl->opaque_handle().get() : nullptr;
}

at::Tensor packed_as(const at::Tensor& packed, at::ScalarType dtype) {
  return make_tensor(packed_impl(packed).opaque_handle(), dtype);
}

at::Tensor packed_rows(const at::Tensor& packed, int64_t first, int64_t count) {
  PackedWeight part = *packed_impl(packed).opaque_handle();
  const int64_t rows = part.shape.front(), columns = part.numbers() / std::max<int64_t>(rows, 1);
  TORCH_CHECK(first >= 0 && count >= 0 && first + count <= rows, "rows ", first, " to ", first + count, " of ", rows);
  const auto begin = packed_bytes(part.type, first * columns), bytes = packed_bytes(part.type, count * columns);
  const bool same_scales = !part.scales.defined() || part.scales.size(0) == 1;
  const bool in_order = part.shape.size() == 2 && part.type != PackedType::kInt8Panels;
  const bool fits = begin && bytes && in_order && (same_scales || first % part.scale_rows == 0);
  TORCH_CHECK(fits, "a packed weight ", at::IntArrayRef(part.shape), " cannot be cut at row ", first);
  part.shape.front() = count;
  part.bytes = part.bytes.narrow(0, *begin, *bytes);
  if (!same_scales) part.scales = part.scales.narrow(0, first / part.scale_rows, ceil_div(count, part.scale_rows));
  for (LowRank& more : part.added) more.up = more.up.narrow(0, first, count);
  part.scale_rows = std::min(part.scale_rows, std::max<int64_t>(count, 1));
  return packed_tensor(std::move(part), packed.scalar_type());
}

void unpack_rows(const PackedWeight& weight, int64_t first, int64_t count, const at::Tensor& out) {
  if (weight.added.empty()) return unpack_stored(weight, first, count, out);
  const int64_t columns = weight.columns();
  const at::Tensor sum = at::empty({count, columns}, out.options().dtype(at::kFloat));
  unpack_stored(weight, first, count, sum);
  for (const LowRank& more : weight.added) sum.addmm_(more.up.narrow(0, first, count), more.down);
  out.view({count, columns}).copy_(sum);
}

bool can_unpack_to(const PackedWeight& weight, const at::Tensor& out) {
  if (device_kernels(out)) return weight.type != PackedType::kInt8Panels && weight.rotation == 0;
  return out.is_cpu();
}

at::Tensor unpacked(const at::Tensor& tensor, at::ScalarType dtype) {
  const PackedWeight* weight = packed_weight(tensor);
  if (!weight) return tensor.to(dtype);
  const bool direct = dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
  const at::Tensor out = at::empty(weight->shape, at::TensorOptions().dtype(direct ? dtype : at::kFloat));
  unpack_rows(*weight, 0, weight->rows(), out);
  if (weight->release) weight->release(weight->bytes);
  return out.to(dtype);
}

at::Tensor gather_rows(const at::Tensor& table, const at::Tensor& ids) {
  const PackedWeight* weight = packed_weight(table);
  if (!weight) return table.index({ids});
  std::vector<int64_t> shape = ids.sizes().vec();
  shape.push_back(weight->columns());
  const at::Tensor out = at::empty(shape, at::TensorOptions().dtype(table.scalar_type()));
  const at::Tensor rows = out.view({-1, weight->columns()}), order = ids.contiguous().view(-1);
  const auto* id = order.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < order.numel(); ++i) {
    TORCH_CHECK(id[i] >= 0 && id[i] < weight->rows(), "row ", id[i], " of a table of ", weight->rows());
    unpack_rows(*weight, id[i], 1, rows.narrow(0, i, 1));
  }
  if (weight->release) weight->release(weight->bytes);
  return out;
}

std::string number_format(const at::Tensor& tensor) {
  const PackedWeight* weight = packed_weight(tensor);
  return weight ? format_of(weight->type).name : dtype_name(tensor.scalar_type());
}

bool all_finite(const PackedWeight& weight) {
  const PackedFormat& format = format_of(weight.type);
  const auto* bytes = static_cast<const uint8_t*>(weight.bytes.const_data_ptr());
  std::atomic<bool> finite = finite_scales(weight);
  parallel_for(0, weight.numbers() / format.numbers, 1 << 16, [&](int64_t begin, int64_t end) {
    bool here = true;
    for (int64_t i = begin; i < end; ++i) here &= finite_block(weight.type, bytes + i * format.bytes);
    if (!here) finite = false;
  });
  return finite;
}

bool same_packed(const at::Tensor& a, const at::Tensor& b) {
  const PackedWeight *first = packed_weight(a), *second = packed_weight(b);
  if (!first || !second || !first->added.empty() || !second->added.empty() || first->type != second->type ||
      first->shape != second->shape || first->rotation != second->rotation ||
      first->scales.defined() != second->scales.defined())
    return false;
  return at::equal(first->bytes, second->bytes) &&
         (!first->scales.defined() ||
          (first->scales.sizes() == second->scales.sizes() && at::equal(first->scales, second->scales)));
}

}  // namespace tessera
