#include <ATen/ATen.h>
#include <c10/core/UndefinedTensorImpl.h>

#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/direct_conv.h"
#include "kernels/frame_conv.h"
#include "kernels/winograd_filtering.h"

namespace tessera {
namespace {

constexpr int kMostTerms2d = 36;

int64_t wide(int64_t channels) {
  return (channels + 15) / 16 * 16;
}

/// Wide layers work on few pixels, which resemble their neighbors less, so that errors grow more; and they have most of
/// the weights, of which kFine needs fewer.
FrameForm form_of(const at::Tensor& weight) {
  constexpr int64_t kWide = 256;
  if (weight.size(-1) == 1) return FrameForm::kPoint;
  return std::max(weight.size(0), weight.size(1)) >= kWide ? FrameForm::kFine : FrameForm::kCoarse;
}

/// G g G^T of one filter.
void transform_filter(const Filtering& down, const Filtering& across, const float* filter, float* to) {
  float g_rows[kMostProducts][kMostTaps] = {};
  for (int p = 0; p < down.products; ++p)
    for (int row = 0; row < down.taps; ++row)
      for (int column = 0; column < across.taps; ++column)
        g_rows[p][column] += static_cast<float>(down.terms[p].filter[row]) * filter[row * across.taps + column];
  for (int p = 0; p < down.products; ++p)
    for (int q = 0; q < across.products; ++q) {
      float sum = 0;
      for (int column = 0; column < across.taps; ++column)
        sum += static_cast<float>(across.terms[q].filter[column]) * g_rows[p][column];
      to[p * across.products + q] = sum;
    }
}

/// The filters of output channel `channel`, the `place`th of its block of `width` channels.
void pack_channel(const FrameFilters& filters, const float* weight, int64_t width, int64_t place, uint16_t* block) {
  const Filtering &down = frame_rows(filters.form), &across = frame_columns(filters.form);
  const int terms = down.products * across.products;
  const int64_t taps = filters.taps, filter = down.taps * across.taps, run = taps * filters.wide_in;
  float transformed[kMostTerms2d];
  for (int64_t in = 0; in < filters.in; ++in)
    for (int64_t tap = 0; tap < taps; ++tap) {
      transform_filter(down, across, weight + (in * taps + tap) * filter, transformed);
      const int64_t k = tap * filters.wide_in + in;
      uint16_t* to = block + (k / 2 * width + place) * 2 + k % 2;
      for (int term = 0; term < terms; ++term, to += run * width) *to = c10::BFloat16(transformed[term]).x;
    }
}

}  // namespace

FrameFilters pack_frame_filters(const at::Tensor& weight) {
  const int64_t dims = weight.dim(), kernel = weight.size(-1);
  TORCH_CHECK((dims == 4 || dims == 5) && weight.size(-2) == kernel && (kernel == 1 || kernel == 3),
              "pack_frame_filters: want [out, in, (taps,) k, k] with k 1 or 3, got ", weight.sizes());
  FrameFilters filters{.in = weight.size(1),
                       .out = weight.size(0),
                       .wide_in = wide(weight.size(1)),
                       .wide_out = wide(weight.size(0)),
                       .taps = dims == 5 ? weight.size(2) : 1,
                       .form = form_of(weight),
                       .packed = {}};
  const int64_t terms = frame_rows(filters.form).products * frame_columns(filters.form).products;
  const int64_t of_channel = terms * filters.taps * filters.wide_in;
  const bool whole = filters.in == filters.wide_in && filters.out == filters.wide_out;
  filters.packed = at::empty({filters.wide_out * of_channel}, at::kBFloat16);
  if (!whole) filters.packed.zero_();
  const at::Tensor plain = weight.detach().to(at::kFloat).contiguous();
  auto* packed = static_cast<uint16_t*>(filters.packed.data_ptr());
  parallel_for(0, filters.out, 1, [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel) {
      int64_t first = 0;
      while (channel >= first + direct_block(filters.wide_out - first)) first += direct_block(filters.wide_out - first);
      pack_channel(filters, plain.const_data_ptr<float>() + channel * (plain.numel() / filters.out),
                   direct_block(filters.wide_out - first), channel - first, packed + first * of_channel);
    }
  });
  return filters;
}

/// What the filters were made of.
struct FrameFilterCache::Entry {
  c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> weight;
  const void* data;
  uint32_t version;
  FrameFilters filters;
};

namespace {

uint32_t version_of(const at::Tensor& weight) {
  return weight.is_inference() ? 0 : static_cast<uint32_t>(weight._version());
}

}  // namespace

FrameFilterCache& FrameFilterCache::operator=(const FrameFilterCache& other) {
  if (this == &other) return *this;
  const std::lock_guard<std::mutex> lock(mutex_);
  entry_.reset();
  return *this;
}

std::shared_ptr<const FrameFilters> FrameFilterCache::of(const at::Tensor& weight) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool same = entry_ && !entry_->weight.expired() &&
                    entry_->weight._unsafe_get_target() == weight.unsafeGetTensorImpl() &&
                    entry_->data == weight.const_data_ptr() && entry_->version == version_of(weight);
  if (!same) {
    entry_.reset();  // its memory goes before the next is taken
    entry_ = std::make_shared<const Entry>(
        Entry{c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>(weight.getIntrusivePtr()),
              weight.const_data_ptr(), version_of(weight), pack_frame_filters(weight)});
  }
  return {entry_, &entry_->filters};
}

}  // namespace tessera
